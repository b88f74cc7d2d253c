"""Requests with evidence, as a device makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asn1crypto import core
from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.wire.attestation import ATTESTATION
from est_server.wire.der import header

if TYPE_CHECKING:
    from collections.abc import Sequence


def sequence(*parts: bytes) -> bytes:
    content = b"".join(parts)
    return header(0x30, len(content)) + content


def statement(oid: str, stmt: bytes) -> bytes:
    return sequence(core.ObjectIdentifier(oid).dump(), stmt)


def bundle(statements: Sequence[tuple[str, bytes]], certificates: Sequence[bytes] = ()) -> bytes:
    """Return an AttestationBundle with the DER of each statement's ``stmt``."""
    parts = [sequence(*(statement(oid, stmt) for oid, stmt in statements))]
    if certificates:
        parts.append(sequence(*certificates))
    return sequence(*parts)


def csr_with(
    evidence: bytes | None,
    key: ec.EllipticCurvePrivateKey | None = None,
    name: str = "device-1",
    serial: str | None = None,
    *,
    twice: bool = False,
) -> bytes:
    """Return a DER request whose attestation attribute's values are `evidence`; None for none.

    cryptography can't write an attribute whose value is a SEQUENCE: it is put in afterwards.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
    if serial is not None:
        names.append(x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, serial))
    plain = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if evidence is None:
        return plain.sign(key, SHA256()).public_bytes(Encoding.DER)
    made = asn1_csr.CertificationRequest.load(plain.sign(key, SHA256()).public_bytes(Encoding.DER))
    info = made["certification_request_info"]
    values = header(0x31, len(evidence)) + evidence
    attributes = sequence(core.ObjectIdentifier(ATTESTATION).dump(), values) * (1 + twice)
    content = b"".join(
        (
            info["version"].dump(),
            info["subject"].dump(),
            info["subject_pk_info"].dump(),
            header(0xA0, len(attributes)) + attributes,
        )
    )
    signed = sequence(content)
    signature = key.sign(signed, ec.ECDSA(SHA256()))
    bits = b"\0" + signature
    return sequence(signed, made["signature_algorithm"].dump(), header(0x03, len(bits)) + bits)
