"""Text in names: what no name may hold, and no library refuses when it reads one.

A NUL or a line break in a name reads differently in every program behind this server, and has
been used to obtain certificates for other people's names; RFC 5280 gives such characters no use.
"""

from __future__ import annotations

import ipaddress
import re

from cryptography import x509
from cryptography.x509.oid import NameOID

from est_server.errors import Malformed

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_IA5_NAMES = re.compile(r"[^\x21-\x7e]")
_LENGTHS = {  # RFC 5280 A.1; the library that builds certificates counts octets of UTF-8
    NameOID.COMMON_NAME: (1, 64),
    NameOID.COUNTRY_NAME: (2, 2),
    NameOID.JURISDICTION_COUNTRY_NAME: (2, 2),
}


def require_clean_name(name: x509.Name, rule: str) -> None:
    """Return if every attribute of a distinguished name is text that can be issued.

    Args:
        name: the name.
        rule: the rule to raise.

    Raises:
        Malformed: `rule`, for control characters and for lengths outside RFC 5280 A.1.
    """
    for attribute in name:
        if isinstance(attribute.value, bytes):
            continue  # x500UniqueIdentifier is a BIT STRING
        if _CONTROL.search(attribute.value):
            raise Malformed(rule, f"{attribute.rfc4514_attribute_name} has a control character")
        least, most = _LENGTHS.get(attribute.oid, (0, len(attribute.value) * 4))
        if not least <= len(attribute.value.encode()) <= most:
            raise Malformed(
                rule, f"{attribute.rfc4514_attribute_name} must have {least} to {most} octets"
            )


def require_clean_general_names(names: tuple[x509.GeneralName, ...], rule: str) -> None:
    """Return if every alternative name is one that RFC 5280 4.2.1.6 allows.

    Args:
        names: the names.
        rule: the rule to raise.

    Raises:
        Malformed: `rule`, for empty names, control characters, spaces, address ranges, and text
            beyond ASCII (the library reads UTF-8 where IA5String stands).
    """
    for name in names:
        match name:
            case (
                x509.DNSName(value=text)
                | x509.RFC822Name(value=text)
                | x509.UniformResourceIdentifier(value=text)
            ):
                clean = bool(text) and not _NOT_IN_IA5_NAMES.search(text)
            case x509.DirectoryName(value=directory_name):
                require_clean_name(directory_name, rule)
                clean = True
            case x509.IPAddress(value=address):  # with a mask it is a name constraint's
                clean = isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
            case _:
                clean = True
        if not clean:
            raise Malformed(rule, "an alternative name is empty or not in its form")
