"""Which lists a gateway takes, when it looks again, what its file says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from crl_made import BASE, DELTA, HOUR, NOW, OTHER, ROOT, made
from hypothesis import given
from hypothesis import strategies as st

from est_server.errors import Denied, Malformed
from est_server.revocation import gateway
from est_server.revocation.gateway import Copy, accept
from est_server.wire.crl import encode_entry
from est_server.wire.crl_reading import read_crl

WHOLE = replace(BASE, only_at=None)
CHANGES = replace(DELTA, only_at=None)


def whole(number=7, entries=(), **fields):
    return made(replace(WHOLE, number=number, **fields), entries)


def entry(serial, reason="superseded"):
    return encode_entry(serial, NOW - HOUR, reason, None)


def copy(der):
    return Copy(read_crl(der), der)


def taken(der, held=None, issuer=ROOT.certificate, now=NOW):
    return accept(der, issuer, now, held)


def test_a_higher_number_replaces_a_lower_one():
    first = taken(whole(7))
    second = taken(whole(8, this_update=NOW - 2 * HOUR), first)
    assert second.crl.number == 8, "numbers count, dates don't"
    assert taken(second.der, second) is second


@pytest.mark.parametrize("number", [6, 7])
def test_a_number_that_is_not_higher_replaces_nothing(number):
    held = taken(whole(7))
    with pytest.raises(Denied, match=r"follow\.older"):
        taken(whole(number, [entry(5)]), held)


@pytest.mark.parametrize(
    ("der", "issuer", "now", "rule"),
    [
        (whole(), OTHER.certificate, NOW, "crl.key-identifier"),
        (made(WHOLE, key=OTHER.key), ROOT.certificate, NOW, "crl.signature"),
        (whole(), ROOT.certificate, NOW + HOUR, "crl.ended"),
        (whole(), ROOT.certificate, NOW - 2 * HOUR, "crl.future"),
        (whole(next_update=NOW - HOUR), ROOT.certificate, NOW, "crl.next-update"),
        (made(BASE), ROOT.certificate, NOW, "follow.partial"),
    ],
)
def test_what_must_not_be_used(der, issuer, now, rule):
    with pytest.raises(Denied) as refused:
        taken(der, issuer=issuer, now=now)
    assert rule in str(refused.value)
    assert gateway.still_held(der, issuer, now) is None


@given(st.binary(max_size=200))
def test_what_is_no_list(octets):
    with pytest.raises((Malformed, Denied)):
        taken(octets)
    damaged = bytearray(whole())
    damaged[len(octets) % len(damaged)] ^= 1
    with pytest.raises((Malformed, Denied)):
        taken(bytes(damaged))


def test_a_delta_has_to_fit_its_complete_list():
    base, delta = taken(whole(7)), taken(made(CHANGES))
    gateway.require_fitting(delta, base)
    with pytest.raises(Denied, match=r"delta\.gap"):
        gateway.require_fitting(delta, taken(whole(5)))


@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
def test_what_lists_show(others):
    base = copy(whole(7, [entry(5), entry(6), entry(7)]))
    delta = copy(made(CHANGES, [entry(6, "removeFromCRL"), entry(8, "keyCompromise")]))
    rest = dict.fromkeys(range(100, 100 + others), True)
    asked = {5: True, 6: True, 7: False, 8: True, 9: False} | rest
    assert gateway.shown([base], asked) == {5, 6, 9}
    assert gateway.shown([base, delta], asked) == {5, 8, 9}
    assert gateway.shown([base, delta], {6: False}) == {6}
    assert gateway.shown([], {5: True, 6: False}) == {6}


def test_the_file_is_read_back_as_it_was_written():
    lists = [copy(whole(7, [entry(5)])), copy(whole(8))]
    ders = [one.der for one in lists]
    assert gateway.lists_in(gateway.file_of(lists, "pem")) == ders
    assert gateway.lists_in(gateway.file_of(lists[:1], "der")) == ders[:1]
    assert gateway.lists_in(b"") == []
    assert gateway.lists_in(b"-----BEGIN X509 CRL-----\nhalf") == []
    assert gateway.lists_in(ROOT.certificate.public_bytes(gateway_pem())) == []


def gateway_pem():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM


@given(st.binary(max_size=300))
def test_any_file_can_be_there_before(content):
    for der in gateway.lists_in(content):
        assert gateway.still_held(der, ROOT.certificate, NOW) is None


@pytest.mark.parametrize(
    ("lived", "pause"),
    [(0.0, 3600), (0.25, 1800), (0.5, 30), (0.9, 30), (1.5, 30)],
)
def test_a_successor_is_looked_for_from_half_of_a_life_on(lived, pause):
    life = 2 * HOUR
    one = copy(whole(this_update=NOW, next_update=NOW + life))
    assert gateway.pause([one], NOW + lived * life) == timedelta(seconds=pause)
    brief = copy(whole(this_update=NOW, next_update=NOW + timedelta(seconds=60)))
    assert gateway.pause([one, brief], NOW + lived * life) <= timedelta(seconds=30)
    assert gateway.pause([brief], NOW + timedelta(seconds=31)) == timedelta(seconds=1.5)
