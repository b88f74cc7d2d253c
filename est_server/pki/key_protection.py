"""Which algorithms protect a server-made key, from what the client is willing to use.

SMIMECapabilities name the key encipherment algorithms (RFC 7030 4.4.1), and in practice content
ciphers too. The strongest that both sides take is used; where a list has none of a kind, the one
that every CMS receiver has. A list that has only what is weak or unknown leads to a refusal, never
to something that was not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from asn1crypto import algos, core
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from est_server.wire.cms_enveloped import AES_CBC, AES_WRAP, STD_DH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from est_server.wire.cms_enveloped import Transport
    from est_server.wire.key_protection import Capability

_RSA = "1.2.840.113549.1.1.1"
_OAEP = "1.2.840.113549.1.1.7"
_WEAK_DH = {"1.3.133.16.840.63.0.2", "1.3.132.1.11.0"}  # stdDH with the KDF's SHA-1 and SHA-224
_CIPHERS = {oid: octets for octets, oid in AES_CBC.items()}
_WRAPS = {oid: octets for octets, oid in AES_WRAP.items()}
_KDFS = {oid: name for name, oid in STD_DH.items()}
_KEY_ENCIPHERMENT = {_RSA, _OAEP, *_WRAPS, *_KDFS, *_WEAK_DH}
_CURVES = {"secp256r1": "sha256", "secp384r1": "sha384", "secp521r1": "sha512"}
SMALLEST_RSA = 2048


@dataclass(frozen=True, slots=True)
class Algorithms:
    """What to use.

    Attributes:
        kind: of the RecipientInfo.
        content_octets: of the AES key that encrypts the content.
        transport: for ``ktri``.
        kdf: for ``kari``: the hash of the key derivation.
        wrap_octets: for ``kari`` and ``kekri``: of the AES key that wraps.
    """

    kind: Literal["kekri", "ktri", "kari"]
    content_octets: int
    transport: Transport = "pkcs1"
    kdf: str = ""
    wrap_octets: int = 0


def algorithms_for(
    capabilities: Sequence[Capability], key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | int
) -> Algorithms:
    """Return the algorithms for a recipient.

    Args:
        capabilities: what the client is willing to use.
        key: the recipient's public key, or the octets of the key that both sides have.

    Raises:
        ValueError: none fits; the text says what was looked for.
    """
    match key:
        case int():
            return _symmetric(capabilities, key)
        case rsa.RSAPublicKey():
            return _transport(capabilities, key)
        case _:
            return _agreement(capabilities, key)


def _symmetric(capabilities: Sequence[Capability], octets: int) -> Algorithms:
    wraps = _listed(capabilities, _WRAPS)
    if octets not in wraps and (wraps or _lists_key_encipherment(capabilities)):
        raise ValueError(f"none of its capabilities wraps keys with AES-{octets * 8}")
    content = _content(capabilities, octets)
    return Algorithms("kekri", content, wrap_octets=octets)


def _transport(capabilities: Sequence[Capability], key: rsa.RSAPublicKey) -> Algorithms:
    if key.key_size < SMALLEST_RSA:
        raise ValueError(f"the recipient's RSA key has {key.key_size} bits")
    content = _content(capabilities, 16)
    for capability in capabilities:
        if capability.oid == _OAEP and (found := _oaep(capability)) is not None:
            return Algorithms("ktri", content, transport=found)
    oids = {capability.oid for capability in capabilities}
    # RFC 3370 4.2.1: what every CMS receiver with an RSA key has
    if _RSA in oids or not _lists_key_encipherment(capabilities):
        return Algorithms("ktri", content, transport="pkcs1")
    raise ValueError("none of its capabilities transports keys with RSA")


def _agreement(capabilities: Sequence[Capability], key: ec.EllipticCurvePublicKey) -> Algorithms:
    kdf = _CURVES.get(key.curve.name)
    if kdf is None:
        raise ValueError(f"no key agreement on {key.curve.name}")
    content = _content(capabilities, 16 if kdf == "sha256" else 32)
    offered = [pair for one in capabilities if (pair := _agreement_of(one)) is not None]
    if not offered and _lists_key_encipherment(capabilities) and not _listed(capabilities, _WRAPS):
        raise ValueError("none of its capabilities agrees on keys with ECDH and SHA-2")
    pairs = [pair for pair in offered if pair[0] == kdf] or offered or [(kdf, None)]
    kdf, wrap = max(pairs, key=lambda pair: (pair[1] or 0, pair[0]))
    if wrap is None:
        wraps = _listed(capabilities, _WRAPS)
        wrap = max(wraps) if wraps else content
    return Algorithms("kari", content, kdf=kdf, wrap_octets=wrap)


def _content(capabilities: Sequence[Capability], usual: int) -> int:
    """Return the octets of the content's key: the strongest listed, or the usual one."""
    listed = _listed(capabilities, _CIPHERS)
    if listed:
        return max(listed)
    if not capabilities or any(one.oid not in _KEY_ENCIPHERMENT for one in capabilities):
        raise ValueError("none of its capabilities is AES in CBC mode")
    return max((usual, *_listed(capabilities, _WRAPS)))


def _listed(capabilities: Sequence[Capability], table: dict[str, int]) -> set[int]:
    return {table[one.oid] for one in capabilities if one.oid in table}


def _lists_key_encipherment(capabilities: Sequence[Capability]) -> bool:
    return any(one.oid in _KEY_ENCIPHERMENT for one in capabilities)


def _oaep(capability: Capability) -> Transport | None:
    """Return the OAEP that a capability names; None for one that is not offered here."""
    if capability.parameters is None:
        return "oaep-sha1"  # RFC 4055 4.1: the defaults
    try:
        found = algos.RSAESOAEPParams.load(capability.parameters, strict=True)
        digest = found["hash_algorithm"]["algorithm"].native
        mask = found["mask_gen_algorithm"]["parameters"]["algorithm"].native
    except (ValueError, TypeError, KeyError):
        return None
    if digest != mask:
        return None
    return {"sha1": "oaep-sha1", "sha256": "oaep-sha256"}.get(digest)  # type: ignore[return-value]


def _agreement_of(capability: Capability) -> tuple[str, int | None] | None:
    """Return the KDF's hash and the octets of the wrap that an ECDH capability names.

    RFC 5753 7.1.8: its parameters are the wrap's identifier; None for them without any, and for
    the whole where the agreement or its wrap is not offered here.
    """
    kdf = _KDFS.get(capability.oid)
    if kdf is None or capability.parameters is None:
        return None if kdf is None else (kdf, None)
    try:
        wrap = core.Sequence.load(capability.parameters, strict=True)[0].dotted
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    return (kdf, _WRAPS[wrap]) if wrap in _WRAPS else None
