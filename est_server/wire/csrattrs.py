"""CSR attributes: what the server wants to find in a request (RFC 7030 4.5.2, RFC 9908).

    CsrAttrs  ::= SEQUENCE SIZE (0..MAX) OF AttrOrOID
    AttrOrOID ::= CHOICE { oid OBJECT IDENTIFIER, attribute Attribute }
    Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF ANY }

RFC 9908 3.4 adds a template of the whole request as one more attribute (IMPLICIT TAGS):

    CertificationRequestInfoTemplate ::= SEQUENCE {
        version       INTEGER { v1(0) },
        subject       NameTemplate OPTIONAL,
        subjectPKInfo [0] SubjectPublicKeyInfoTemplate OPTIONAL,
        attributes    [1] Attributes }
    NameTemplate                 ::= SEQUENCE OF SET OF SingleAttributeTemplate
    SingleAttributeTemplate      ::= SEQUENCE { type OBJECT IDENTIFIER, value ANY OPTIONAL }
    SubjectPublicKeyInfoTemplate ::= SEQUENCE {
        algorithm AlgorithmIdentifier, subjectPublicKey BIT STRING OPTIONAL }
    ExtensionTemplate            ::= SEQUENCE {
        extnID OBJECT IDENTIFIER, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING OPTIONAL }
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asn1crypto import core

from est_server.errors import Malformed
from est_server.wire.der import children, require_one_sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
REQUEST_TEMPLATE = "1.2.840.113549.1.9.16.2.61"
EXTENSION_TEMPLATE = "1.2.840.113549.1.9.16.2.62"
MOST_ITEMS = 64
MOST_OCTETS = 16384
_SET = 0x31
_RSA = "1.2.840.113549.1.1.1"
_STRINGS = {  # RFC 5280 A.1: everything else is a DirectoryString, and so UTF8String
    "2.5.4.5": core.PrintableString,  # serialNumber
    "2.5.4.6": core.PrintableString,  # countryName
    "2.5.4.46": core.PrintableString,  # dnQualifier
    "0.9.2342.19200300.100.1.25": core.IA5String,  # domainComponent
    "1.2.840.113549.1.9.1": core.IA5String,  # emailAddress
}


@dataclass(frozen=True, slots=True)
class Oid:
    """An attribute, algorithm or extension that is wanted, by name alone."""

    oid: str


@dataclass(frozen=True, slots=True)
class AttributeValues:
    """An attribute with the values that are wanted; each is DER, and there may be none."""

    oid: str
    values: tuple[bytes, ...]


CsrAttrs = tuple[Oid | AttributeValues, ...]


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """A request to be filled in (RFC 9908 3.4).

    Attributes:
        subject: attribute OID and fixed value; None for a value that the device fills in.
        key_algorithm: OID of the key's algorithm; None if any will do.
        curve: OID of the named curve, for EC.
        rsa_bits: size of the modulus, for RSA.
        extensions: extension OID and DER of its value; None for one that the device fills in.
        attributes: further attributes of the request, by name.
    """

    subject: tuple[tuple[str, str | None], ...] = ()
    key_algorithm: str | None = None
    curve: str | None = None
    rsa_bits: int | None = None
    extensions: tuple[tuple[str, bytes | None], ...] = ()
    attributes: tuple[str, ...] = ()


class _Values(core.SetOf):  # type: ignore[misc]  # asn1crypto has no types
    _child_spec = core.Any


class _Attribute(core.Sequence):  # type: ignore[misc]
    _fields = [("type", core.ObjectIdentifier), ("values", _Values)]  # noqa: RUF012 - its API


class _AttrOrOid(core.Choice):  # type: ignore[misc]
    _alternatives = [("oid", core.ObjectIdentifier), ("attribute", _Attribute)]  # noqa: RUF012


class _CsrAttrs(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _AttrOrOid


class _SingleAttribute(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("type", core.ObjectIdentifier),
        ("value", core.Any, {"optional": True}),
    ]


class _RelativeName(core.SetOf):  # type: ignore[misc]
    _child_spec = _SingleAttribute


class _NameTemplate(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _RelativeName


class _Algorithm(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("algorithm", core.ObjectIdentifier),
        ("parameters", core.Any, {"optional": True}),
    ]


class _KeyTemplate(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("algorithm", _Algorithm),
        ("subject_public_key", core.OctetBitString, {"optional": True}),
    ]


class _ExtensionTemplate(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("extn_id", core.ObjectIdentifier),
        ("critical", core.Boolean, {"default": False}),
        ("extn_value", core.OctetString, {"optional": True}),
    ]


class _ExtensionTemplates(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _ExtensionTemplate


class _Attributes(core.SetOf):  # type: ignore[misc]
    _child_spec = _Attribute


class _RequestTemplate(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("version", core.Integer),
        ("subject", _NameTemplate, {"optional": True}),
        ("key", _KeyTemplate, {"optional": True, "implicit": 0}),
        ("attributes", _Attributes, {"implicit": 1}),
    ]


class _RsaKey(core.Sequence):  # type: ignore[misc]
    _fields = [("modulus", core.Integer), ("exponent", core.Integer)]  # noqa: RUF012


def encode_csrattrs(items: CsrAttrs) -> bytes:
    """Return the DER of CsrAttrs, items in the order given.

    Args:
        items: what to ask for; values are of universal types.
    """
    return _dump(_CsrAttrs([_choice(item) for item in items]))


def parse_csrattrs(der: bytes) -> CsrAttrs:
    """Read CsrAttrs.

    Raises:
        Malformed: ``csrattrs.encoding``, ``csrattrs.trailing-bytes``, ``csrattrs.too-large``,
            ``csrattrs.too-many``.
    """
    if len(der) > MOST_OCTETS:
        raise Malformed("csrattrs.too-large", f"the attributes have more than {MOST_OCTETS} octets")
    require_one_sequence(der, "csrattrs")
    try:
        found = _CsrAttrs.load(der, strict=True)
        if len(found) > MOST_ITEMS:
            raise Malformed("csrattrs.too-many", f"more than {MOST_ITEMS} attributes")
        return tuple(_item(choice) for choice in found)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed("csrattrs.encoding", "these are not CSR attributes") from error


def oid_value(oid: str) -> bytes:
    """Return the DER of an OBJECT IDENTIFIER, as a value of `AttributeValues`."""
    return _dump(core.ObjectIdentifier(oid))


def integer_value(number: int) -> bytes:
    """Return the DER of an INTEGER, as a value of `AttributeValues`."""
    return _dump(core.Integer(number))


def extension_request(extensions: Sequence[tuple[str, bytes]]) -> AttributeValues:
    """Return the attribute that asks for extensions with these very values (RFC 9908 3.2).

    There may be one such attribute in CsrAttrs and one value in it, holding all extensions.

    Args:
        extensions: extension OID and DER of its value, each OID once.
    """
    return AttributeValues(EXTENSION_REQUEST, (_dump(_extension_templates(extensions)),))


def template_attribute(template: RequestTemplate) -> AttributeValues:
    """Return the attribute that carries a request template (RFC 9908 3.4)."""
    content: dict[str, Any] = {"version": 0, "attributes": _template_attributes(template)}
    if template.subject:
        content["subject"] = [[_single(oid, value)] for oid, value in template.subject]
    if template.key_algorithm is not None:
        content["key"] = _key(template)
    return AttributeValues(REQUEST_TEMPLATE, (_dump(_RequestTemplate(content)),))


def _single(oid: str, value: str | None) -> dict[str, Any]:
    if value is None:
        return {"type": oid}
    return {"type": oid, "value": _STRINGS.get(oid, core.UTF8String)(value)}


def _key(template: RequestTemplate) -> dict[str, Any]:
    algorithm: dict[str, Any] = {"algorithm": template.key_algorithm}
    if template.curve is not None:
        algorithm["parameters"] = core.ObjectIdentifier(template.curve)
    if template.key_algorithm == _RSA:
        algorithm["parameters"] = core.Null()
    key: dict[str, Any] = {"algorithm": algorithm}
    if template.rsa_bits is not None:
        # RFC 9908 3.4: a placeholder whose modulus has the wanted size, all other bits zero
        placeholder = _RsaKey({"modulus": 1 << (template.rsa_bits - 1), "exponent": 65537})
        key["subject_public_key"] = _dump(placeholder)
    return key


def _template_attributes(template: RequestTemplate) -> list[dict[str, Any]]:
    attributes: list[dict[str, Any]] = [{"type": oid, "values": []} for oid in template.attributes]
    if not template.extensions:
        return attributes
    # RFC 9908 3.4: never both; the plain form where every value is fixed
    open_values = any(value is None for _, value in template.extensions)
    oid = EXTENSION_TEMPLATE if open_values else EXTENSION_REQUEST
    return [*attributes, {"type": oid, "values": [_extension_templates(template.extensions)]}]


def _extension_templates(
    extensions: Sequence[tuple[str, bytes | None]],
) -> _ExtensionTemplates:
    """With every value present this is Extensions (RFC 5280 4.1), octet for octet."""
    return _ExtensionTemplates(
        [
            {"extn_id": oid} if value is None else {"extn_id": oid, "extn_value": value}
            for oid, value in extensions
        ]
    )


def _choice(item: Oid | AttributeValues) -> _AttrOrOid:
    if isinstance(item, Oid):
        return _AttrOrOid("oid", item.oid)
    values = [core.Any.load(value, strict=True) for value in item.values]
    return _AttrOrOid("attribute", _Attribute({"type": item.oid, "values": values}))


def _item(choice: _AttrOrOid) -> Oid | AttributeValues:
    if choice.name == "oid":
        return Oid(choice.chosen.dotted)
    attribute = choice.chosen
    _, values = children(attribute.dump())  # asn1crypto lets a third part pass
    if values[0] != _SET:
        raise ValueError("the values of an Attribute are a SET")
    return AttributeValues(attribute["type"].dotted, tuple(children(values)))


def _dump(value: Any) -> bytes:
    der: bytes = value.dump()
    return der
