"""COSE_Sign1 (RFC 9052 4.2): one signature over a payload.

    COSE_Sign1_Tagged = #6.18([ protected: bstr .cbor map, unprotected: map, payload: bstr,
                                signature: bstr ])
    Sig_structure     = [ "Signature1", protected: bstr, external_aad: h'', payload: bstr ]

The algorithm counts in the protected header alone, and has to be the key's own (RFC 9053 2.1): what
an attacker can choose chooses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from est_server.errors import Malformed
from est_server.wire import cbor

SIGN1 = 18
_ALGORITHM, _CRITICAL, _KEY_ID = 1, 2, 4
_ALGORITHMS: dict[int, tuple[str, hashes.HashAlgorithm, int]] = {
    -7: ("secp256r1", hashes.SHA256(), 32),
    -35: ("secp384r1", hashes.SHA384(), 48),
    -36: ("secp521r1", hashes.SHA512(), 66),
}
"""Algorithm -> curve, hash, octets of r and s."""


@dataclass(frozen=True, slots=True)
class Sign1:
    """A signed payload that is not verified yet.

    Attributes:
        payload: what is signed.
        key_id: a hint, from either header; empty without.
    """

    payload: bytes
    key_id: bytes
    _protected: bytes = field(repr=False)
    _signature: bytes = field(repr=False)
    _algorithm: int

    def verify(self, key: ec.EllipticCurvePublicKey) -> None:
        """Check the signature.

        Raises:
            Malformed: ``cose.algorithm`` if the key makes no such signatures;
                ``cose.signature``.
        """
        curve, algorithm, size = _ALGORITHMS[self._algorithm]
        if key.curve.name != curve:
            raise Malformed("cose.algorithm", f"a key of {key.curve.name} makes no such signature")
        if len(self._signature) != 2 * size:
            raise Malformed("cose.signature", "the signature has another length")
        r, s = (
            int.from_bytes(part, "big") for part in (self._signature[:size], self._signature[size:])
        )
        signed = cbor.encode(["Signature1", self._protected, b"", self.payload])
        try:
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(algorithm))
        except InvalidSignature as error:
            raise Malformed("cose.signature", "the key did not sign this") from error


def parse_sign1(data: bytes) -> Sign1:
    """Read a tagged COSE_Sign1.

    Raises:
        Malformed: ``cbor.…``, ``cose.tag``, ``cose.structure``, ``cose.algorithm``,
            ``cose.critical``.
    """
    parts = cbor.tagged(cbor.decode(data), SIGN1)
    if parts is None:
        raise Malformed("cose.tag", "this is no COSE_Sign1 in its tag")
    if not isinstance(parts, list) or len(parts) != 4:
        raise Malformed("cose.structure", "COSE_Sign1 has four parts")
    protected, unprotected, payload, signature = parts
    if not all(isinstance(one, bytes) for one in (protected, payload, signature)) or not isinstance(
        unprotected, dict
    ):
        raise Malformed("cose.structure", "COSE_Sign1 has octets, a map, octets and octets")
    header = cbor.decode(protected) if protected else {}
    if not isinstance(header, dict):
        raise Malformed("cose.structure", "the protected header is no map")
    if _CRITICAL in header or _CRITICAL in unprotected:
        raise Malformed("cose.critical", "a critical header that is not understood")
    algorithm = header.get(_ALGORITHM)
    if type(algorithm) is not int or algorithm not in _ALGORITHMS:
        raise Malformed("cose.algorithm", "the protected header names no signature that counts")
    key_id = header.get(_KEY_ID, unprotected.get(_KEY_ID, b""))
    return Sign1(
        payload, key_id if isinstance(key_id, bytes) else b"", protected, signature, algorithm
    )
