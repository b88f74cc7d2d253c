"""The one name that a manufacturer's certificate gives a device."""

from __future__ import annotations

import pytest
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paths_world import DAY, NOW

from est_server.errors import Unauthenticated
from est_server.pki.identity import LONGEST, identity_field
from est_server.pki.names import HARDWARE_MODULE_NAME, hardware_module_names

KEY = ec.generate_private_key(ec.SECP256R1())
SERIAL, COMMON = NameOID.SERIAL_NUMBER, NameOID.COMMON_NAME
HARDWARE, DNS, URI = "san.hardwareModuleName", "san.dns", "san.uri"


class Module(core.Sequence):
    """HardwareModuleName (RFC 4108 5)."""

    _fields = [("type", core.ObjectIdentifier), ("serial", core.OctetString)]  # noqa: RUF012 - asn1crypto's API


def hardware(serial, kind="1.3.6.1.4.1.99999.1", oid=HARDWARE_MODULE_NAME):
    return x509.OtherName(oid, Module({"type": kind, "serial": serial}).dump())


LONGER = bytes.fromhex("300a 06032a0304 040101 0500")


def certificate(subject=(), names=(), raw=None):
    name = x509.Name([x509.NameAttribute(oid, value, _validate=False) for oid, value in subject])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + DAY)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if raw is not None:
        oid = x509.SubjectAlternativeName.oid
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, raw), critical=False)
    return builder.sign(KEY, hashes.SHA256())


FOUND = {
    "serial-number": (
        certificate([(SERIAL, "SN-1"), (COMMON, "x")]),
        "subject.serialNumber",
        "SN-1",
    ),
    "common-name": (certificate([(SERIAL, "x"), (COMMON, "SN-1")]), "subject.commonName", "SN-1"),
    "dns": (certificate(names=[x509.DNSName("a.example")]), DNS, "a.example"),
    "uri": (certificate(names=[x509.UniformResourceIdentifier("urn:x:1")]), URI, "urn:x:1"),
    "uri-beside-dns": (
        certificate(names=[x509.DNSName("a"), x509.UniformResourceIdentifier("urn:x:1")]),
        URI,
        "urn:x:1",
    ),
    "hardware": (certificate(names=[hardware(b"\x00\xfeSN")]), HARDWARE, "00fe534e"),
    "hardware-behind-another-name": (
        certificate(names=[hardware(b"x", oid=x509.ObjectIdentifier("1.2.3")), hardware(b"\x01")]),
        HARDWARE,
        "01",
    ),
    "as-long-as-may-be": (certificate(names=[x509.DNSName("a" * LONGEST)]), DNS, "a" * LONGEST),
}
REFUSED = {
    "no-subject": (certificate(), "subject.serialNumber", "identity.missing"),
    "no-names": (certificate([(COMMON, "x")]), DNS, "identity.missing"),
    "no-hardware": (certificate(names=[x509.DNSName("a")]), HARDWARE, "identity.missing"),
    "another-kind-of-other-name": (
        certificate(names=[hardware(b"x", oid=x509.ObjectIdentifier("1.2.3"))]),
        HARDWARE,
        "identity.missing",
    ),
    "hardware-garbled": (
        certificate(names=[x509.OtherName(HARDWARE_MODULE_NAME, b"\x04\x01x")]),
        HARDWARE,
        "identity.invalid",
    ),
    "hardware-with-a-part-too-many": (
        certificate(names=[x509.OtherName(HARDWARE_MODULE_NAME, LONGER)]),
        HARDWARE,
        "identity.invalid",
    ),
    "hardware-without-number": (certificate(names=[hardware(b"")]), HARDWARE, "identity.invalid"),
    "hardware-twice": (
        certificate(names=[hardware(b"\x01"), hardware(b"\x02")]),
        HARDWARE,
        "identity.ambiguous",
    ),
    "two-serial-numbers": (
        certificate([(SERIAL, "SN-1"), (SERIAL, "SN-2")]),
        "subject.serialNumber",
        "identity.ambiguous",
    ),
    "two-dns-names": (
        certificate(names=[x509.DNSName("a"), x509.DNSName("b")]),
        DNS,
        "identity.ambiguous",
    ),
    "line-break": (certificate([(COMMON, "SN\n1")]), "subject.commonName", "identity.invalid"),
    "nul": (certificate([(COMMON, "SN\x001")]), "subject.commonName", "identity.invalid"),
    "right-to-left": (
        certificate([(COMMON, "SN\u202e1")]),
        "subject.commonName",
        "identity.invalid",
    ),
    "space-before": (certificate([(COMMON, " SN-1")]), "subject.commonName", "identity.invalid"),
    "space-behind": (certificate([(COMMON, "SN-1 ")]), "subject.commonName", "identity.invalid"),
    "too-long": (certificate(names=[x509.DNSName("a" * (LONGEST + 1))]), DNS, "identity.invalid"),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_field_is_found(name):
    subject, field, expected = FOUND[name]
    assert identity_field(subject, field) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_names_no_one_device_is_refused(name):
    subject, field, rule = REFUSED[name]
    with pytest.raises(Unauthenticated) as refused:
        identity_field(subject, field)
    assert refused.value.rule == rule


def test_names_that_can_not_be_read_are_refused():
    for raw in (b"", b"\x30\x03\x82\x05a", b"\x30\x02\x82\x05"):
        with pytest.raises(Unauthenticated) as refused:
            identity_field(certificate(raw=raw), DNS)
        assert refused.value.rule == "identity.invalid"


def test_a_hardware_module_name_has_a_type_and_a_number():
    assert hardware_module_names([hardware(b"\x01\x02", "1.2.3.4")]) == (("1.2.3.4", b"\x01\x02"),)
    assert hardware_module_names([x509.DNSName("a")]) == ()
