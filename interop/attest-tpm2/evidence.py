"""A certification request that a TPM signs and attests (draft-ietf-lamps-csr-attestation).

attribute 1.2.840.113549.1.9.16.2.59, one value:
AttestationBundle ::= SEQUENCE {
    attestations SEQUENCE OF SEQUENCE { type OBJECT IDENTIFIER, stmt ANY },
    certs        SEQUENCE OF Certificate }
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from asn1crypto import core, keys, x509

if TYPE_CHECKING:
    from device_tpm import Key, Tpm

CERTIFY = "2.23.133.20.1"
QUOTE = "2.23.133.20.2"
ATTESTATION = "1.2.840.113549.1.9.16.2.59"
_ECDSA_SHA256 = "1.2.840.10045.4.3.2"
_SHA256 = 0x000B
_P256_POINT = 68


def tlv(tag: int, *parts: bytes) -> bytes:
    """Return one element of DER."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tlv(0x30, *parts)


def octet_string(octets: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tlv(0x04, octets)


def oid(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    return core.ObjectIdentifier(dotted).dump()


def certify_statement(said: bytes, signature: bytes, public: bytes) -> bytes:
    """Return an AttestationStatement: `public` is in this TPM."""
    parts = (octet_string(part) for part in (said, signature, public))
    return sequence(oid(CERTIFY), sequence(*parts))


def quote_statement(said: bytes, signature: bytes, registers: dict[int, bytes]) -> bytes:
    """Return an AttestationStatement: these are the registers of the SHA-256 bank."""
    values = (
        sequence(core.Integer(_SHA256).dump(), core.Integer(index).dump(), octet_string(value))
        for index, value in sorted(registers.items())
    )
    parts = (octet_string(said), octet_string(signature), sequence(*values))
    return sequence(oid(QUOTE), sequence(*parts))


def bundle(statements: list[bytes], certificates: list[bytes]) -> bytes:
    """Return an AttestationBundle."""
    return sequence(sequence(*statements), sequence(*certificates))


def certification_request(tpm: Tpm, key: Key, name: str, evidence: bytes) -> bytes:
    """Return a request for a P-256 key of the TPM, signed by it."""
    attribute = sequence(oid(ATTESTATION), tlv(0x31, evidence))
    info = sequence(
        core.Integer(0).dump(),
        x509.Name.build({"common_name": name}).dump(),
        public_key(key),
        tlv(0xA0, attribute),
    )
    signature = tpm.sign(key, hashlib.sha256(info).digest())
    return sequence(info, sequence(oid(_ECDSA_SHA256)), tlv(0x03, b"\0", signature))


def public_key(key: Key) -> bytes:
    """Return the SubjectPublicKeyInfo of a P-256 key: its TPMT_PUBLIC ends with x and y."""
    point = key.public[-_P256_POINT:]
    x, y = point[2:34], point[36:68]
    algorithm = keys.PublicKeyAlgorithm(
        {"algorithm": "ec", "parameters": keys.ECDomainParameters("named", "secp256r1")}
    )
    return keys.PublicKeyInfo(
        {"algorithm": algorithm, "public_key": keys.ECPointBitString(b"\4" + x + y)}
    ).dump()
