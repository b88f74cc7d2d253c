"""I: which certificate may follow which (RFC 7030 4.2.2, 3.3.2)."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from est_process import initialise, serving
from renewal_world import (
    OtherCa,
    World,
    ask,
    certificate,
    change,
    configure,
    reenroll,
    refuse,
)

from interop.conformance.asking import common_name, new_key

A, B = x509.DNSName("a.example.net"), x509.DNSName("b.example.net")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    cas = {name: OtherCa(name) for name in ("maker", "legacy")}
    server = initialise(tmp_path_factory.mktemp("renewals") / "server")
    configure(server, cas)
    for registrar in ("ra-1", "ra-2"):
        server.run("device", "add", registrar, "--profile", "registrar")
    with serving(server):
        yield World(server, cas, tmp_path_factory.mktemp("renewing"))


def own_key(asker):
    return load_pem_private_key(asker.identity.key.read_bytes(), None)


@case(115)
@case(116)
def test_a_certificate_is_renewed_with_the_same_key_and_with_a_new_one(world):
    device = world.asker("renew").enrolled(name="r-1")
    same = certificate(reenroll(device, "r-1", own_key(device)))
    new = certificate(reenroll(device, "r-1"))
    assert same.public_key() == own_key(device).public_key() != new.public_key()
    assert same.serial_number != new.serial_number


@case(117)
def test_a_profile_may_forbid_to_use_a_key_again(world):
    device = world.asker("newkey").enrolled(name="k-1")
    refuse(reenroll(device, "k-1", own_key(device)), "reenroll.key-same")
    certificate(reenroll(device, "k-1"))


@case(118)
def test_another_subject_is_refused(world):
    device = world.asker("renew").enrolled(name="s-1")
    refuse(reenroll(device, "s-2"), "reenroll.subject")


@case(119)
@case(120)
@case(122)
def test_alternative_names_are_repeated_in_any_order(world):
    asker, key = world.asker("renew"), new_key()
    first = certificate(ask(asker, "simpleenroll", "n-1", key, (A, B)))
    device = asker.with_(identity=asker.keep(first, key), credential=None)
    refuse(reenroll(device, "n-1", None, (A,)), "reenroll.san")
    refuse(reenroll(device, "n-1"), "reenroll.san")
    renewed = certificate(reenroll(device, "n-1", None, (B, A)))
    names = renewed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names) == {A, B}


@case(121)
def test_a_subject_in_another_string_type_is_the_same(world):
    asker, key = world.asker("renew"), new_key()
    first = certificate(ask(asker, "simpleenroll", string("t-1", _ASN1Type.UTF8String), key))
    device = asker.with_(identity=asker.keep(first, key), credential=None)
    certificate(reenroll(device, string("T-1", _ASN1Type.PrintableString)))


def string(text, kind):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, kind)])


@case(123)
def test_names_change_where_the_profile_lets_them(world):
    device = world.asker("changing").enrolled(name="c-1")
    asked = change(common_name("c-2"), B)
    renewed = certificate(reenroll(device, "c-1", None, (), asked))
    assert renewed.subject == common_name("c-2")
    names = renewed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [B]
    # the request's own subject is still the current one, and what is asked for is judged
    refuse(reenroll(device, "c-2", None, (), asked), "reenroll.subject")
    elsewhere = change(None, x509.DNSName("b.example.org"))
    refuse(reenroll(device, "c-1", None, (), elsewhere), "san.not-allowed")
    fixed = world.asker("renew").enrolled(name="c-3")
    refuse(reenroll(fixed, "c-3", None, (), asked), "names.change")


@case(123)
def test_a_change_of_names_that_is_garbled_is_malformed(world):
    device = world.asker("changing").enrolled(name="c-4")
    refuse(reenroll(device, "c-4", None, (), change()), "csr.change-subject-name", 400)


@case(124)
def test_a_renewal_needs_a_certificate(world):
    refuse(reenroll(world.asker("renew"), "x"), "reenroll.certificate-required")


@case(125)
def test_a_certificate_of_another_ca_is_renewed_where_the_profile_lists_it(world):
    name = world.device("legacy", "legacy", "l-1")
    subject = x509.load_pem_x509_certificate(name.identity.certificate.read_bytes()).subject
    certificate(reenroll(name, subject))
    refuse(reenroll(name, "l-1"), "reenroll.subject")
    maker = world.device("legacy", "maker", "l-2")
    assert reenroll(maker, "l-2").status in {401, 403}
    elsewhere = name.with_(label="maker")
    assert reenroll(elsewhere, subject).status == 403


@case(126)
def test_another_certificate_of_the_same_device_and_subject_may_renew(world):
    name = "same-device"
    managed = world.asker("managed", name)
    certificate(ask(managed, "simpleenroll", "alt-1"))
    key = new_key()
    other = world.asker("signing", f"{name}-signing", name)
    shown = certificate(ask(other, "simpleenroll", "alt-1", key))
    device = managed.with_(identity=managed.keep(shown, key), credential=None)
    certificate(reenroll(device, "alt-1"))
    # somebody else's certificate with the same subject does not
    stranger = world.asker("signing", "stranger").enrolled(name="alt-1")
    refuse(reenroll(stranger.with_(label="managed"), "alt-1"), "certificate.profile")


@case(127)
@pytest.mark.parametrize("label", ["managed", "managed-by-subject"])
def test_a_registrar_renews_on_behalf(world, label):
    registrar, unlisted = (
        world.asker("registrar", ra, ra).enrolled(name=ra).with_(label=label)
        for ra in ("ra-1", "ra-2")
    )
    held = certificate(ask(world.asker(label, f"of-{label}"), "simpleenroll", f"of-{label}"))
    renewed = certificate(reenroll(registrar, f"of-{label}"))
    assert renewed.subject == held.subject
    (row,) = [
        found
        for found in world.server.json("cert", "list", "--limit", "1000")
        if int(found["serial"], 16) == renewed.serial_number
    ]
    assert (row["identity"], int(row["replaces"], 16)) == (f"of-{label}", held.serial_number)
    refuse(reenroll(registrar, "nobody"), "reenroll.certificate-unknown")
    # the profile lists who; the extended key usage alone is not enough
    refuse(reenroll(unlisted, f"of-{label}"), "certificate.profile")


def shown(world, made, **wanted):
    """Return what the ledger says of a certificate once it says `wanted`."""
    until = time.monotonic() + 30
    while True:
        found = world.server.json("cert", "show", f"{made.serial_number:x}")
        if wanted.items() <= found.items() or time.monotonic() > until:
            return found


def current(asker):
    return x509.load_pem_x509_certificate(asker.identity.certificate.read_bytes())


@case(128)
@case(131)
def test_a_renewed_certificate_is_revoked_as_superseded(world):
    device = world.asker("supersede-now").enrolled(name="p-1")
    kept = world.asker("renew").enrolled(name="p-1")
    renewed = certificate(reenroll(device, "p-1"))
    certificate(reenroll(kept, "p-1"))
    old = shown(world, current(device), status="revoked")
    assert (old["status"], old["revocation_reason"]) == ("revoked", "superseded")
    assert shown(world, renewed)["request"] == old["superseded_by"]
    refuse(reenroll(device, "p-1"), "certificate.revoked")
    assert shown(world, current(kept))["status"] == "good"
    # the decision that did it is found from the certificate that it was done to
    rules = [
        gate["rule"]
        for decision in world.server.json("why", f"{current(device).serial_number:x}")
        for gate in decision["gates"]
    ]
    assert "supersede" in rules


@case(107)
def test_a_renewal_whose_answer_was_lost(world):
    device, key = world.asker("supersede-later").enrolled(name="q-1"), new_key()
    first = certificate(reenroll(device, "q-1", key))
    # the same question has the same answer, signed anew or not
    assert certificate(reenroll(device, "q-1", key)) == first
    # a device that made another key gets another certificate; nobody holds the first
    second_key = new_key()
    second = certificate(reenroll(device, "q-1", second_key))
    assert second.serial_number != first.serial_number
    assert shown(world, first)["superseded_by"] == shown(world, second)["request"]
    assert shown(world, second)["superseded_by"] is None
    # once the second was used, the old one renews no more, and repeats that answer alone
    renewed = device.with_(identity=device.keep(second, second_key))
    certificate(reenroll(renewed, "q-1"))
    refuse(reenroll(device, "q-1"), "certificate.replaced")
    refuse(reenroll(device, "q-1", key), "certificate.replaced")
    assert certificate(reenroll(device, "q-1", second_key)) == second


@case(129)
def test_an_expired_certificate_renews_within_its_grace(world):
    brief = world.asker("brief").enrolled(name="b-1")
    grace = world.asker("grace").enrolled(name="b-1")
    end = x509.load_pem_x509_certificate(grace.identity.certificate.read_bytes())
    until = end.not_valid_after_utc
    while datetime.now(UTC) <= until:  # noqa: TID251 - it has to expire
        time.sleep(0.1)
    refuse(reenroll(brief, "b-1"), "certificate.expired")
    certificate(reenroll(grace, "b-1"))


@case(130)
def test_before_the_window_a_renewal_is_told_when_to_come_back(world):
    device = world.asker("window").enrolled(name="w-1")
    answer = reenroll(device, "w-1")
    refuse(answer, "reenroll.too-early")
    assert 28 * 86400 < int(answer.get("Retry-After")) <= 29 * 86400


@case(85)
def test_a_manufacturers_certificate_enrolls(world):
    certificate(ask(world.device("maker", "maker", "m-1"), "simpleenroll", "m-1"))


@case(87)
def test_the_same_manufacturers_certificate_enrolls_again_by_rule(world):
    any_number = world.device("maker", "maker", "m-2")
    for _ in range(3):
        certificate(ask(any_number, "simpleenroll", "m-2"))
    once, key = world.device("maker-once", "maker", "m-3"), new_key()
    first = certificate(ask(once, "simpleenroll", "m-3", key))
    refuse(ask(once, "simpleenroll", "m-3"), "enroll.again")
    # the same question is no second enrollment: its answer may have been lost
    assert certificate(ask(once, "simpleenroll", "m-3", key)) == first
    twice = world.device("maker-twice", "maker", "m-4")
    for _ in range(2):
        certificate(ask(twice, "simpleenroll", "m-4"))
    refuse(ask(twice, "simpleenroll", "m-4"), "enroll.too-many")
    replacing = world.device("maker-replace", "maker", "m-7")
    old = certificate(ask(replacing, "simpleenroll", "m-7"))
    certificate(ask(replacing, "simpleenroll", "m-7"))
    assert shown(world, old, status="revoked")["revocation_reason"] == "superseded"


@case(88)
def test_an_own_certificate_at_simpleenroll_is_what_the_profile_says(world):
    refused = world.asker("renew").enrolled(name="o-1")
    refuse(ask(refused, "simpleenroll", "o-1"), "enroll.own-certificate")
    additional = world.asker("additional").enrolled(name="o-2")
    assert replaced(world, certificate(ask(additional, "simpleenroll", "o-3"))) is None
    renewing = world.asker("renewing").enrolled(name="o-4")
    refuse(ask(renewing, "simpleenroll", "o-4"), "reenroll.too-early")
    refuse(ask(renewing, "simpleenroll", "o-5"), "reenroll.too-early")


def replaced(world, made):
    return world.server.json("cert", "show", f"{made.serial_number:x}")["replaces"]


@case(89)
def test_other_names_at_simpleenroll_where_the_profile_lets_them(world):
    asked = change(common_name("y-1"), A)
    given = certificate(
        ask(world.device("maker-names", "maker", "m-5"), "simpleenroll", "m-5", None, (), asked)
    )
    assert given.subject == common_name("y-1")
    fixed = world.device("maker", "maker", "m-6")
    refuse(ask(fixed, "simpleenroll", "m-6", None, (), asked), "names.change")
