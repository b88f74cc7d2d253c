"""What an ACME server is asked for, and what is refused before it is."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from backends.acme_plan import new_order
from est_server.errors import BackendRejected
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan

KEY = generate_key("EC-P256")
A, B = x509.DNSName("a.example"), x509.DNSName("b.example")
ADDRESS = x509.IPAddress(ip_address("2001:db8::1"))


def subject(*values, oid=NameOID.COMMON_NAME):
    return x509.Name([x509.NameAttribute(oid, value) for value in values])


def plan(name, *names):
    return CertificatePlan(
        ca="ca",
        subject=name,
        subject_alternative_names=names,
        spki=b"",
        key_algorithm="EC-P256",
        not_before=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        not_after=datetime(2026, 2, 2, 3, 4, 5, tzinfo=UTC),
        key_usage=("digitalSignature",),
        extended_key_usage=(),
    )


def csr(name, *names):
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, SHA256()).public_bytes(Encoding.DER)


def order(made, request, **options):
    return new_order(made, request, **{"subject": "common_name", "dated": True, **options})


def test_names_and_dates():
    name = subject("B.example")
    assert order(plan(name, A, B, ADDRESS), csr(name, A, B, ADDRESS)) == {
        "identifiers": [
            {"type": "dns", "value": "b.example"},  # the common name first
            {"type": "dns", "value": "a.example"},
            {"type": "ip", "value": "2001:db8::1"},
        ],
        "notBefore": "2026-01-02T03:04:05Z",
        "notAfter": "2026-02-02T03:04:05Z",
    }


def test_no_dates_where_the_server_takes_none():
    assert order(plan(subject(), A), csr(subject(), A), dated=False) == {
        "identifiers": [{"type": "dns", "value": "a.example"}]
    }


def test_the_csr_may_name_in_its_subject():
    made = plan(subject("a.example"), A)
    assert order(made, csr(subject("A.EXAMPLE")))["identifiers"]  # RFC 8555 7.4


REFUSED = {
    "no name": (plan(subject("a.example")), csr(subject("a.example")), "no DNS name"),
    "a mailbox": (
        plan(subject(), A, x509.RFC822Name("a@example")), csr(subject(), A), "DNS names and addr",
    ),
    "another attribute": (
        plan(subject("Example", oid=NameOID.ORGANIZATION_NAME), A), csr(subject(), A), "subject",
    ),
    "two common names": (plan(subject("a.example", "b.example"), A, B), csr(subject(), A, B),
                         "subject"),
    "a common name that is none of the names": (
        plan(subject("router"), A), csr(subject(), A), "common name",
    ),
    "a CSR with more names": (
        plan(subject(), A), csr(subject(), A, B), "asks for a.example, b.example",
    ),
    "a CSR with fewer names": (plan(subject(), A, B), csr(subject(), A), "asks for a.example,"),
    "a CSR whose common name is no DNS name": (plan(subject(), A), csr(subject("x"), A), "x"),
    "a CSR without names": (plan(subject(), A), csr(subject()), "no name"),
    "no CSR": (plan(subject(), A), b"0", "can't be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_before_anything_is_asked(case):
    made, request, text = REFUSED[case]
    with pytest.raises(BackendRejected) as refused:
        order(made, request)
    assert refused.value.rule == "ca.plan"
    assert text in refused.value.message


def test_a_subject_where_the_server_writes_none():
    name = subject("a.example")
    with pytest.raises(BackendRejected, match=r"ca\.plan"):
        order(plan(name, A), csr(name, A), subject="empty")


@given(st.binary(max_size=200))
def test_any_bytes_for_a_csr(octets):
    with pytest.raises(BackendRejected, match=r"ca\.plan"):
        order(plan(subject(), A), octets)


WHOLE = csr(subject(), A)


@example(8, 1)  # a version that is none
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_damaged_csr_is_refused_or_names_the_same(at, octet):
    damaged = bytearray(WHOLE)
    damaged[at] = octet
    with suppress(BackendRejected):
        assert order(plan(subject(), A), bytes(damaged))["identifiers"]
