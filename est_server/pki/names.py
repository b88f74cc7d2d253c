"""Names: how they read, and when two are the same (RFC 5280 7.1, RFC 4514)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asn1crypto import x509 as asn1_x509
from asn1crypto.core import UTF8String
from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterable

HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:(?://)?)([^/?#@]*@)?([^/?#]*)(.*)", re.DOTALL)


def name_text(name: x509.Name) -> str:
    """Return the RFC 4514 form, most specific first: ``CN=SN-1,O=Example``."""
    return name.rfc4514_string()


def general_name_text(name: x509.GeneralName) -> str:
    """Return the form that OpenSSL prints: ``DNS:a.example``, ``IP:192.0.2.1``, ``URI:…``."""
    match name:
        case x509.DNSName():
            return f"DNS:{name.value}"
        case x509.IPAddress():
            return f"IP:{name.value}"
        case x509.RFC822Name():
            return f"email:{name.value}"
        case x509.UniformResourceIdentifier():
            return f"URI:{name.value}"
        case x509.DirectoryName():
            return f"dirName:{name_text(name.value)}"
        case x509.RegisteredID():
            return f"RID:{name.value.dotted_string}"
        case x509.OtherName():
            return f"otherName:{name.type_id.dotted_string}={name.value.hex()}"
    return repr(name)


def names_equal(one: x509.Name, other: x509.Name) -> bool:
    """Tell whether two names are the same by RFC 5280 7.1.

    String types, case and inner white space don't matter; order and number of attributes do.
    """
    return one == other or _folded_name(one) == _folded_name(other)


def general_names_equal(one: Iterable[x509.GeneralName], other: Iterable[x509.GeneralName]) -> bool:
    """Tell whether two subjectAltNames hold the same names, in whatever order.

    Hosts compare without case wherever they stand (RFC 5280 7.2, 7.4, 7.5), directory names as in
    `names_equal`, everything else exactly.
    """
    return {_folded(name) for name in one} == {_folded(name) for name in other}


def _folded(name: x509.GeneralName) -> tuple[object, ...]:
    match name:
        case x509.DNSName(value=text):
            return "dns", text.lower()
        case x509.RFC822Name(value=text):
            local, _, host = text.rpartition("@")
            return "email", local, host.lower()
        case x509.UniformResourceIdentifier(value=text):
            if (found := _URI.fullmatch(text)) is None or not found[1].endswith("//"):
                return "uri", text
            return "uri", found[1].lower(), found[2], found[3].lower(), found[4]
        case x509.DirectoryName(value=directory_name):
            return "directory", _folded_name(directory_name)
    return type(name).__name__, general_name_text(name)


def _folded_name(name: x509.Name) -> tuple[tuple[tuple[str, str | bytes], ...], ...]:
    """Return what equal names have in common; the attributes of one RDN are a set."""
    return tuple(
        tuple(sorted(((one.oid.dotted_string, _prepared(one.value)) for one in rdn), key=repr))
        for rdn in name.rdns
    )


def _prepared(value: str | bytes) -> str | bytes:
    """Return a text as RFC 4518 prepares it; one that it prohibits equals itself alone."""
    if isinstance(value, bytes):
        return value  # x500UniqueIdentifier is a BIT STRING
    text = asn1_x509.DirectoryString("utf8_string", UTF8String(value))
    attribute = asn1_x509.NameTypeAndValue({"type": "common_name", "value": text})
    try:
        prepared: str = attribute.prepped_value
    except ValueError:
        return value.encode("utf-8", "surrogatepass")
    return prepared


def hardware_module_names(names: Iterable[x509.GeneralName]) -> tuple[tuple[str, bytes], ...]:
    """Return (hwType, hwSerialNum) of every HardwareModuleName (RFC 4108 5).

    HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }

    Raises:
        ValueError: one can't be read.
    """
    return tuple(
        _hardware_module_name(name.value)
        for name in names
        if isinstance(name, x509.OtherName) and name.type_id == HARDWARE_MODULE_NAME
    )


def _hardware_module_name(der: bytes) -> tuple[str, bytes]:
    try:
        module = _HardwareModuleName.load(der, strict=True)
        found = module["hw_type"].dotted, module["hw_serial_num"].native
        whole = _HardwareModuleName({"hw_type": found[0], "hw_serial_num": found[1]}).dump()
    except TypeError as error:
        raise ValueError(str(error)) from error
    if whole != der:
        raise ValueError("there is more in it than a type and a number")
    return found


class _HardwareModuleName(asn1_x509.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields = [  # noqa: RUF012 - its API
        ("hw_type", asn1_x509.ObjectIdentifier),
        ("hw_serial_num", asn1_x509.OctetString),
    ]
