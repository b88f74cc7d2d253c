"""The public area of a TPM object (TPM 2.0 Part 2, 12.2.4): a key and what its TPM does with it.

    TPMT_PUBLIC ::= type            u16
                    nameAlg         u16
                    objectAttributes u32
                    authPolicy      TPM2B
                    parameters      symmetric, scheme, then RSA: keyBits u16, exponent u32
                                                       ECC: curveID u16, kdf
                    unique          RSA: TPM2B, the modulus; ECC: two TPM2B, x and y

    Name ::= nameAlg u16, digest of the whole area (Part 1, 16)

A statement about a key names it by its Name. Whoever has the area can compute the Name, and so
knows that type, attributes and key are those of which the TPM speaks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.errors import Malformed
from est_server.wire import tpm_algorithms as algorithms
from est_server.wire.tpm_buffer import Reader

MOST_OCTETS = 1024
_RULE = "tpm-public"
_DEFAULT_EXPONENT = 65537
_WITHOUT_HASH = frozenset({algorithms.RSAES})


class Attributes(IntFlag):
    """TPMA_OBJECT (TPM 2.0 Part 2, 8.3), the bits that a verifier asks for."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ENCRYPTED_DUPLICATION = 1 << 11
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


@dataclass(frozen=True, slots=True)
class TpmPublic:
    """One public area, read whole.

    Attributes:
        data: the area as sent.
        name_algorithm: TPM_ALG_ID of the Name's hash.
        attributes: what the TPM does with the key; bits without a name here are kept.
        symmetric: TPM_ALG_ID; NULL for anything but a storage key.
        scheme: TPM_ALG_ID of the one scheme that the key signs with, or NULL for any.
        scheme_hash: TPM_ALG_ID of that scheme's hash; NULL without a scheme.
        key: the public key; on its curve, if it has one.
        name: the object's Name.
        spki: DER SubjectPublicKeyInfo of the key.
    """

    data: bytes = field(repr=False)
    name_algorithm: int
    attributes: Attributes
    symmetric: int
    scheme: int
    scheme_hash: int
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    name: bytes
    spki: bytes = field(repr=False)


@lru_cache(maxsize=64)  # both statements of a bundle are by one attestation key
def parse_public(data: bytes) -> TpmPublic:
    """Read a TPMT_PUBLIC of an RSA or ECC key.

    Raises:
        Malformed: ``tpm-public.too-large``, ``tpm-public.truncated``,
            ``tpm-public.trailing-bytes``, ``tpm-public.type``, ``tpm-public.name-algorithm``,
            ``tpm-public.curve``, ``tpm-public.key``.
    """
    reader = Reader(data, _RULE, MOST_OCTETS)
    kind, name_algorithm = reader.number(2), reader.number(2)
    if kind not in {algorithms.RSA, algorithms.ECC}:
        raise Malformed("tpm-public.type", f"object type 0x{kind:04x} is neither RSA nor ECC")
    if name_algorithm not in algorithms.HASHES:
        raise Malformed(
            "tpm-public.name-algorithm", f"nameAlg 0x{name_algorithm:04x} names nothing safely"
        )
    attributes = Attributes(reader.number(4))
    reader.sized()  # authPolicy: who may use the key, not where it lives
    symmetric = _symmetric(reader)
    scheme, scheme_hash = _scheme(reader)
    key = _rsa(reader) if kind == algorithms.RSA else _ecc(reader)
    reader.end()
    return TpmPublic(
        data=data,
        name_algorithm=name_algorithm,
        attributes=attributes,
        symmetric=symmetric,
        scheme=scheme,
        scheme_hash=scheme_hash,
        key=key,
        name=name_algorithm.to_bytes(2, "big") + algorithms.digest(name_algorithm, data),
        spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def _symmetric(reader: Reader) -> int:
    """TPMT_SYM_DEF_OBJECT+ (Part 2, 11.1.7)."""
    algorithm = reader.number(2)
    if algorithm != algorithms.NULL:
        reader.take(4)  # keyBits, mode
    return algorithm


def _scheme(reader: Reader) -> tuple[int, int]:
    """TPMT_RSA_SCHEME+ and TPMT_ECC_SCHEME+ (Part 2, 11.2.4.2 and 11.2.5.6)."""
    scheme = reader.number(2)
    if scheme == algorithms.NULL or scheme in _WITHOUT_HASH:
        return scheme, algorithms.NULL
    scheme_hash = reader.number(2)
    if scheme == algorithms.ECDAA:
        reader.take(2)  # count
    return scheme, scheme_hash


def _rsa(reader: Reader) -> rsa.RSAPublicKey:
    bits, exponent = reader.number(2), reader.number(4)
    modulus = int.from_bytes(reader.sized(), "big")
    if modulus.bit_length() != bits:
        raise Malformed("tpm-public.key", f"the modulus does not have the {bits} bits it names")
    try:
        return rsa.RSAPublicNumbers(exponent or _DEFAULT_EXPONENT, modulus).public_key()
    except ValueError as error:
        raise Malformed("tpm-public.key", "this is no RSA key") from error


def _ecc(reader: Reader) -> ec.EllipticCurvePublicKey:
    curve_id = reader.number(2)
    curve = algorithms.CURVES.get(curve_id)
    if curve is None:
        raise Malformed("tpm-public.curve", f"curve 0x{curve_id:04x} is not a NIST prime curve")
    _scheme(reader)  # TPMT_KDF_SCHEME+ has the same form
    x, y = (int.from_bytes(reader.sized(), "big") for _ in "xy")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("tpm-public.key", f"this is no point of {curve.name}") from error
