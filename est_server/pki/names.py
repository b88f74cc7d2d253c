"""Names: how they read, and when two are the same (RFC 5280 7.1, RFC 4514)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asn1crypto import x509 as asn1_x509
from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterable

HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")


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
    first, second = one.public_bytes(), other.public_bytes()
    if first == second:
        return True
    equal: bool = asn1_x509.Name.load(first) == asn1_x509.Name.load(second)
    return equal


def general_names_equal(one: Iterable[x509.GeneralName], other: Iterable[x509.GeneralName]) -> bool:
    """Tell whether two subjectAltNames hold the same names, in whatever order.

    DNS names compare without case (RFC 5280 7.2), everything else exactly.
    """
    return {_folded(name) for name in one} == {_folded(name) for name in other}


def _folded(name: x509.GeneralName) -> str:
    text = general_name_text(name)
    return text.lower() if isinstance(name, x509.DNSName) else text


def hardware_module_name(names: Iterable[x509.GeneralName]) -> tuple[str, bytes] | None:
    """Return (hwType, hwSerialNum) of the first HardwareModuleName (RFC 4108 5).

    HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }
    """
    for name in names:
        if not isinstance(name, x509.OtherName) or name.type_id != HARDWARE_MODULE_NAME:
            continue
        try:
            module = _HardwareModuleName.load(name.value, strict=True)
            return module["hw_type"].dotted, module["hw_serial_num"].native
        except (ValueError, TypeError):
            return None
    return None


class _HardwareModuleName(asn1_x509.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields = [  # noqa: RUF012 - its API
        ("hw_type", asn1_x509.ObjectIdentifier),
        ("hw_serial_num", asn1_x509.OctetString),
    ]
