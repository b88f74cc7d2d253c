"""How a CSR asks for its server-made key to be encrypted (RFC 7030 4.4.1).

DecryptKeyIdentifier            1.2.840.113549.1.9.16.2.37  OCTET STRING  (RFC 4108 2.2.5)
AsymmetricDecryptKeyIdentifier  1.2.840.113549.1.9.16.2.54  OCTET STRING  (RFC 7030 4.4.1.2)
SMIMECapabilities               1.2.840.113549.1.9.15                     (RFC 8551 2.5.2)

SMIMECapabilities ::= SEQUENCE OF SMIMECapability
SMIMECapability   ::= SEQUENCE { capabilityID OBJECT IDENTIFIER, parameters ANY OPTIONAL }
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asn1crypto import core

from est_server.errors import Malformed
from est_server.wire.der import children

if TYPE_CHECKING:
    from collections.abc import Iterable

    from est_server.wire.pkcs10 import Attribute

DECRYPT_KEY_IDENTIFIER = "1.2.840.113549.1.9.16.2.37"
ASYMMETRIC_DECRYPT_KEY_IDENTIFIER = "1.2.840.113549.1.9.16.2.54"
SMIME_CAPABILITIES = "1.2.840.113549.1.9.15"
MOST_CAPABILITIES = 64
LONGEST_IDENTIFIER = 255
_OCTET_STRING = 0x04
_SEQUENCE = 0x30


@dataclass(frozen=True, slots=True)
class Capability:
    """An algorithm that the client is willing to use, and DER of its parameters, if any."""

    oid: str
    parameters: bytes | None = None


@dataclass(frozen=True, slots=True)
class KeyProtection:
    """What a request says about the encryption of its key.

    Attributes:
        symmetric: the DecryptKeyIdentifier; None if absent.
        asymmetric: the AsymmetricDecryptKeyIdentifier; None if absent.
        capabilities: in the client's order of preference; None if the attribute is absent.
    """

    symmetric: bytes | None = None
    asymmetric: bytes | None = None
    capabilities: tuple[Capability, ...] | None = None


def key_protection(attributes: Iterable[Attribute]) -> KeyProtection:
    """Read the three attributes.

    Args:
        attributes: a request's, each OID once and with one value.

    Raises:
        Malformed: ``csr.decrypt-key-identifier``, ``csr.asymmetric-decrypt-key-identifier``,
            ``csr.smime-capabilities``.
    """
    values = {attribute.oid: attribute.values[0] for attribute in attributes}
    capabilities = values.get(SMIME_CAPABILITIES)
    return KeyProtection(
        symmetric=_identifier(values.get(DECRYPT_KEY_IDENTIFIER), "csr.decrypt-key-identifier"),
        asymmetric=_identifier(
            values.get(ASYMMETRIC_DECRYPT_KEY_IDENTIFIER), "csr.asymmetric-decrypt-key-identifier"
        ),
        capabilities=None if capabilities is None else _capabilities(capabilities),
    )


def encode_identifier(identifier: bytes) -> bytes:
    """Return the DER of either identifier's value."""
    der: bytes = core.OctetString(identifier).dump()
    return der


def encode_capabilities(capabilities: Iterable[Capability]) -> bytes:
    """Return the DER of SMIMECapabilities."""
    der: bytes = _Capabilities([_encoded(one) for one in capabilities]).dump()
    return der


class _Capability(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields = [  # noqa: RUF012 - its API
        ("capability_id", core.ObjectIdentifier),
        ("parameters", core.Any, {"optional": True}),
    ]


class _Capabilities(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _Capability


def _encoded(capability: Capability) -> dict[str, Any]:
    content: dict[str, Any] = {"capability_id": capability.oid}
    if capability.parameters is not None:
        content["parameters"] = core.Any.load(capability.parameters, strict=True)
    return content


def _identifier(value: bytes | None, rule: str) -> bytes | None:
    if value is None:
        return None
    try:
        found: bytes = core.OctetString.load(_tagged(value, _OCTET_STRING), strict=True).native
    except (ValueError, TypeError) as error:
        raise Malformed(rule, "a key's identifier is an OCTET STRING") from error
    if not 1 <= len(found) <= LONGEST_IDENTIFIER:
        raise Malformed(rule, f"a key's identifier has 1 to {LONGEST_IDENTIFIER} octets")
    return found


def _tagged(value: bytes, tag: int) -> bytes:
    if value[0] != tag:
        raise ValueError("another tag")
    return value


def _capabilities(value: bytes) -> tuple[Capability, ...]:
    rule = "csr.smime-capabilities"
    try:
        found = tuple(_capability(item) for item in children(_tagged(value, _SEQUENCE)))
    except (ValueError, TypeError) as error:
        raise Malformed(rule, "these are not SMIMECapabilities") from error
    if len(found) > MOST_CAPABILITIES:
        raise Malformed(rule, f"more than {MOST_CAPABILITIES} capabilities")
    return found


def _capability(item: bytes) -> Capability:
    identifier, *parameters = children(_tagged(item, _SEQUENCE))
    if len(parameters) > 1:
        raise ValueError("too many parts")
    oid: str = core.ObjectIdentifier.load(identifier, strict=True).dotted
    return Capability(oid, parameters[0] if parameters else None)
