"""The name that a manufacturer's certificate gives a device (IEEE 802.1AR 8, RFC 4108 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from est_server.errors import Unauthenticated
from est_server.pki.names import hardware_module_names

if TYPE_CHECKING:
    from collections.abc import Iterable

_SUBJECT = {
    "subject.serialNumber": NameOID.SERIAL_NUMBER,
    "subject.commonName": NameOID.COMMON_NAME,
}
_SAN: dict[str, type[x509.DNSName | x509.UniformResourceIdentifier]] = {
    "san.dns": x509.DNSName,
    "san.uri": x509.UniformResourceIdentifier,
}
LONGEST = 256


def identity_field(certificate: x509.Certificate, field: str) -> str:
    """Return the one value of `field` in `certificate`.

    Args:
        certificate: already validated.
        field: ``subject.serialNumber``, ``subject.commonName``, ``san.hardwareModuleName`` (the
            hwSerialNum in hexadecimal), ``san.dns`` or ``san.uri``.

    Raises:
        Unauthenticated: ``identity.missing`` without a value; ``identity.ambiguous`` with several,
            since which of them names the device would be a guess; ``identity.invalid`` with a
            value that is empty, too long or not printable.
    """
    values = tuple(_values(certificate, field))
    if not values:
        raise Unauthenticated("identity.missing", f"the certificate has no {field}")
    if len(values) > 1:
        raise Unauthenticated("identity.ambiguous", f"the certificate has several {field}")
    value = values[0]
    if not value or len(value) > LONGEST or not value.isprintable() or value != value.strip():
        raise Unauthenticated("identity.invalid", f"the certificate's {field} names no device")
    return value


def _values(certificate: x509.Certificate, field: str) -> Iterable[str]:
    if (oid := _SUBJECT.get(field)) is not None:
        for attribute in certificate.subject.get_attributes_for_oid(oid):
            value = attribute.value
            yield value if isinstance(value, str) else value.decode("utf-8", "replace")
        return
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        modules = hardware_module_names(san)
    except x509.ExtensionNotFound:
        return
    except ValueError as error:
        raise Unauthenticated("identity.invalid", "the certificate's names are garbled") from error
    if (kind := _SAN.get(field)) is not None:
        yield from san.get_values_for_type(kind)
    else:
        yield from (number.hex() for _, number in modules)
