"""Is the certificate that came back the one that was planned?

A CA can be misconfigured, broken or hostile. Nothing reaches a device before this has passed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from est_server.errors import BackendRejected
from est_server.pki.names import general_names_equal, names_equal
from est_server.pki.usages import key_usage_names

if TYPE_CHECKING:
    from est_server.pki.plan import CertificatePlan

MOST_SERIAL_OCTETS = 20


def check_issued(
    plan: CertificatePlan,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    *,
    serial_number: int | None,
    exact: bool,
) -> None:
    """Return if `certificate` is what `plan` says and `issuer` signed it.

    Args:
        plan: what was ordered.
        certificate: what came.
        issuer: whose key must have signed.
        serial_number: what was ordered; None where the CA numbers by itself.
        exact: the certificate must equal the plan; otherwise, for a CA elsewhere, it must not
            be wider: no longer validity, no further names, usages or CA rights.

    Raises:
        BackendRejected: ``issued.key``, ``issued.subject``, ``issued.names``, ``issued.validity``,
            ``issued.serial``, ``issued.usage``, ``issued.is-ca``, ``issued.extensions``,
            ``issued.issuer``, ``issued.signature``.
    """
    # 1. the device's key, byte for byte
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    _require(key == plan.spki, "issued.key", "it certifies another key")
    # 2. names
    _require(names_equal(certificate.subject, plan.subject), "issued.subject", "another subject")
    extensions = {extension.oid: extension for extension in certificate.extensions}
    san = extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    names = tuple(san.value) if san and isinstance(san.value, x509.SubjectAlternativeName) else ()
    _require(
        general_names_equal(names, plan.subject_alternative_names), "issued.names", "other names"
    )
    # 3. validity
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _require(end <= issuer.not_valid_after_utc, "issued.validity", "it outlives its issuer")
    fits = (begin, end) == (plan.not_before, plan.not_after) if exact else end <= plan.not_after
    _require(fits, "issued.validity", f"it is valid from {begin} to {end}")
    # 4. serial number (RFC 5280 4.1.2.2)
    serial = certificate.serial_number
    _require(
        0 < serial < 1 << (8 * MOST_SERIAL_OCTETS - 1),
        "issued.serial",
        "it has a bad serial number",
    )
    _require(serial_number in {None, serial}, "issued.serial", "it has another serial number")
    # 5. rights
    _check_rights(plan, extensions, exact=exact)
    if exact:
        _require(
            set(extensions) == expected_extensions(plan, issuer),
            "issued.extensions",
            "it has other extensions",
        )
    nocheck = ExtensionOID.OCSP_NO_CHECK in extensions
    _require(nocheck == plan.ocsp_nocheck, "issued.extensions", "its status may not be asked for")
    # 6. the issuer's name and signature
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError) as error:
        raise BackendRejected(
            "issued.issuer", "the CA's answer: it names another issuer"
        ) from error
    except (InvalidSignature, UnsupportedAlgorithm) as error:
        raise BackendRejected(
            "issued.signature", "the CA's answer: its signature does not fit the issuer"
        ) from error


def expected_extensions(
    plan: CertificatePlan, issuer: x509.Certificate
) -> set[x509.ObjectIdentifier]:
    """Return the OIDs of the extensions that a certificate made from `plan` has."""
    pointers = plan.pointers
    wanted = {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: True,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: issuer is not None,
        ExtensionOID.KEY_USAGE: bool(plan.key_usage),
        ExtensionOID.EXTENDED_KEY_USAGE: bool(plan.extended_key_usage),
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME: bool(plan.subject_alternative_names),
        ExtensionOID.CERTIFICATE_POLICIES: bool(plan.certificate_policies),
        ExtensionOID.CRL_DISTRIBUTION_POINTS: bool(pointers.crl),
        ExtensionOID.FRESHEST_CRL: bool(pointers.freshest_crl),
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS: bool(pointers.ocsp or pointers.ca_issuers),
        ExtensionOID.OCSP_NO_CHECK: plan.ocsp_nocheck,
    }
    return {oid for oid, present in wanted.items() if present}


def _check_rights(
    plan: CertificatePlan,
    extensions: dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]],
    *,
    exact: bool,
) -> None:
    basic = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if basic is not None and isinstance(basic.value, x509.BasicConstraints):
        _require(not basic.value.ca, "issued.is-ca", "it is a CA certificate")
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    found = (
        set(key_usage_names(usage.value))
        if usage and isinstance(usage.value, x509.KeyUsage)
        else set()
    )
    planned = set(plan.key_usage)
    fits = found == planned if exact else found <= planned and bool(found) == bool(planned)
    _require(fits, "issued.usage", "other key usages")
    extended = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    purposes = (
        {oid.dotted_string for oid in extended.value}
        if extended and isinstance(extended.value, x509.ExtendedKeyUsage)
        else set()
    )
    wanted = set(plan.extended_key_usage)
    # no extension at all would allow every purpose (RFC 5280 4.2.1.12)
    fits = purposes == wanted if exact else purposes <= wanted and bool(purposes) == bool(wanted)
    _require(fits, "issued.usage", "other extended key usages")


def _require(holds: bool, rule: str, message: str) -> None:
    if not holds:
        raise BackendRejected(rule, f"the CA's answer: {message}")
