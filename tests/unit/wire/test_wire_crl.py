"""CRLs there and back, and whatever else arrives where a CRL should be."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import crl as asn1
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from est_server.errors import Malformed
from est_server.pki.authority import authority_key_identifier, make_root
from est_server.pki.signatures import sign_and_check, signature_algorithm
from est_server.wire.crl import CrlContent, encode_crl, encode_entry, encode_tbs
from est_server.wire.crl_reading import read_crl

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROOT = make_root("Issuing", "EC-P256", lifetime=timedelta(3650), now=NOW)
ALGORITHM = signature_algorithm(ROOT.key)
REASONS = {
    "unspecified": "unspecified", "keyCompromise": "key_compromise",
    "affiliationChanged": "affiliation_changed", "superseded": "superseded",
    "cessationOfOperation": "cessation_of_operation", "certificateHold": "certificate_hold",
    "privilegeWithdrawn": "privilege_withdrawn", "removeFromCRL": "remove_from_crl",
}  # fmt: skip
SECONDS = st.integers(0, 150 * 365 * 86400).map(
    lambda seconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
URLS = st.sampled_from(["http://a/crl/b-1.crl", "http://host:8080/x/crl/issuing-17.crl"])
CONTENTS = st.builds(
    CrlContent,
    algorithm=st.just(ALGORITHM),
    issuer=st.just(ROOT.certificate.subject.public_bytes()),
    key_identifier=st.just(authority_key_identifier(ROOT.certificate).key_identifier),
    number=st.integers(1, (1 << 159) - 1),
    this_update=SECONDS,
    next_update=SECONDS,
    base_number=st.none() | st.integers(1, 1 << 70),
    only_at=st.none() | URLS,
    freshest=st.lists(URLS, max_size=2).map(tuple),
    expired_since=st.none() | SECONDS,
)
ENTRIES = st.lists(
    st.tuples(
        st.integers(1, (1 << 160) - 1), SECONDS, st.sampled_from(sorted(REASONS)),
        st.none() | SECONDS,
    ),
    max_size=5,
)  # fmt: skip


def signed(content, entries=()):
    tbs = encode_tbs(content, [encode_entry(*entry) for entry in entries])
    return encode_crl(tbs, content.algorithm, sign_and_check(ROOT.key, tbs))


@given(CONTENTS, ENTRIES)
def test_what_is_encoded_is_read_by_us_and_by_two_libraries(content, entries):
    der = signed(content, entries)
    found = read_crl(der)
    for name in (
        "issuer", "key_identifier", "number", "this_update", "next_update", "base_number",
        "only_at", "freshest", "expired_since",
    ):  # fmt: skip
        assert getattr(found, name) == getattr(content, name), name
    assert found.algorithms == (ALGORITHM, ALGORITHM)
    read = [
        (one.serial_number, one.revoked_at, one.reason, one.invalidity_date)
        for one in found.entries()
    ]
    assert read == [(n, at, REASONS[reason], since) for n, at, reason, since in entries]
    assert found.empty_list is False
    other = asn1.CertificateList.load(der, strict=True)
    assert other.dump(force=True) == der, "DER has one form"
    third = x509.load_der_x509_crl(der)
    assert third.is_signature_valid(ROOT.certificate.public_key())
    assert {one.serial_number for one in third} == {entry[0] for entry in entries}
    assert found.tbs == third.tbs_certlist_bytes
    assert found.signature == third.signature


@given(st.binary(max_size=200))
def test_noise_is_no_crl(data):
    with pytest.raises(Malformed):
        read_crl(data)


GOOD = signed(
    CrlContent(
        ALGORITHM, ROOT.certificate.subject.public_bytes(), b"k" * 20, 7, NOW,
        NOW + timedelta(1), 5, "http://a/crl/b.crl", ("http://a/d.crl",), NOW,
    ),
    [(1 << 100, NOW, "keyCompromise", NOW), (5, NOW, "unspecified", None)],
)  # fmt: skip


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_crl_with_one_octet_changed_is_read_or_malformed(at, change):
    spoiled = bytearray(GOOD)
    spoiled[at] ^= change
    with suppress(Malformed):
        list(read_crl(bytes(spoiled)).entries())


@given(st.integers(0, len(GOOD) - 1))
def test_a_crl_cut_short_is_malformed(length):
    with pytest.raises(Malformed, match=r"crl\.encoding"):
        read_crl(GOOD[:length])


def test_octets_behind_a_crl_are_refused():
    with pytest.raises(Malformed, match=r"crl\.trailing-bytes"):
        read_crl(GOOD + b"\0")
