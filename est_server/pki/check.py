"""Is the certificate that came back the one that was planned?

A CA can be misconfigured, broken or hostile. Nothing reaches a device before this has passed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID

from est_server.errors import BackendRejected
from est_server.pki.authority import authority_key_identifier
from est_server.pki.certificates import UNREADABLE
from est_server.pki.names import general_names_equal, names_equal
from est_server.pki.plan import Pointers
from est_server.pki.usages import key_usage_names

if TYPE_CHECKING:
    from est_server.pki.plan import CertificatePlan

MOST_SERIAL_OCTETS = 20
Extensions = dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]


def check_issued(
    plan: CertificatePlan,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    *,
    serial_number: int,
    own: frozenset[str] = frozenset(),
    late: timedelta = timedelta(0),
) -> None:
    """Return if `certificate` is what `plan` says and `issuer` signed it.

    Args:
        plan: what was ordered.
        certificate: what came.
        issuer: whose key must have signed.
        serial_number: what was ordered.
        own: what the CA fills in by its own rules (``serial``, ``validity``, ``extensions``): it
            must not be wider than the plan. Everything else must equal it.
        late: how long after it was ordered the certificate came; an end of the CA's own choice may
            be that much later than planned.

    Raises:
        BackendRejected: ``issued.key``, ``issued.subject``, ``issued.names``, ``issued.validity``,
            ``issued.serial``, ``issued.usage``, ``issued.is-ca``, ``issued.extensions``,
            ``issued.issuer``, ``issued.signature``.
    """
    # 1. the device's key, byte for byte
    key, extensions = _read(certificate)
    _require(key == plan.spki, "issued.key", "it certifies another key")
    # 2. names
    _require(names_equal(certificate.subject, plan.subject), "issued.subject", "another subject")
    names = tuple(_value(extensions, x509.SubjectAlternativeName) or ())
    _require(
        general_names_equal(names, plan.subject_alternative_names), "issued.names", "other names"
    )
    # 3. validity
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    _require(end <= issuer.not_valid_after_utc, "issued.validity", "it outlives its issuer")
    if "validity" in own:
        # a CA that dates back further than the plan gives nobody more time
        lasts = end - max(begin, plan.not_before)
        longest = plan.not_after - plan.not_before
        fits = begin < end <= plan.not_after + late and lasts <= longest
    else:
        fits = (begin, end) == (plan.not_before, plan.not_after)
    _require(fits, "issued.validity", f"it is valid from {begin} to {end}")
    # 4. serial number (RFC 5280 4.1.2.2)
    serial = certificate.serial_number
    _require(
        0 < serial < 1 << (8 * MOST_SERIAL_OCTETS - 1),
        "issued.serial",
        "it has a bad serial number",
    )
    _require(
        "serial" in own or serial == serial_number,
        "issued.serial",
        "it has another serial number",
    )
    # 5. rights
    exact = "extensions" not in own
    _check_rights(plan, extensions, exact=exact)
    if exact:
        _require(
            set(extensions) == expected_extensions(plan),
            "issued.extensions",
            "it has other extensions",
        )
        _check_content(plan, certificate, extensions, issuer)
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


def signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer` signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _read(certificate: x509.Certificate) -> tuple[bytes, Extensions]:
    """Return the DER of the key, and the extensions; a CA may send what can't be read."""
    try:
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BackendRejected("issued.key", "the CA's answer: its key can't be read") from error
    try:
        return key, {extension.oid: extension for extension in certificate.extensions}
    except UNREADABLE as error:
        raise BackendRejected(
            "issued.extensions", "the CA's answer: its extensions can't be read"
        ) from error


def expected_extensions(plan: CertificatePlan) -> set[x509.ObjectIdentifier]:
    """Return the OIDs of the extensions that a certificate made from `plan` has."""
    pointers = plan.pointers
    wanted = {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: True,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: True,
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


def _check_content(
    plan: CertificatePlan,
    certificate: x509.Certificate,
    extensions: Extensions,
    issuer: x509.Certificate,
) -> None:
    """Compare extensions that give no right, and that relying parties follow all the same."""
    _require(_pointers(extensions) == plan.pointers, "issued.extensions", "other URLs")
    policies = tuple(
        policy.policy_identifier.dotted_string
        for policy in _value(extensions, x509.CertificatePolicies) or ()
    )
    _require(policies == plan.certificate_policies, "issued.extensions", "other policies")
    own = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    _require(
        _value(extensions, x509.SubjectKeyIdentifier) == own
        and _value(extensions, x509.AuthorityKeyIdentifier) == authority_key_identifier(issuer),
        "issued.extensions",
        "other key identifiers",
    )


def _pointers(extensions: Extensions) -> Pointers:
    def points(kind: type[x509.CRLDistributionPoints | x509.FreshestCRL]) -> tuple[str, ...]:
        return tuple(
            name.value for point in _value(extensions, kind) or () for name in point.full_name or ()
        )

    def access(method: x509.ObjectIdentifier) -> tuple[str, ...]:
        return tuple(
            found.access_location.value
            for found in _value(extensions, x509.AuthorityInformationAccess) or ()
            if found.access_method == method
        )

    return Pointers(
        points(x509.CRLDistributionPoints),
        points(x509.FreshestCRL),
        access(AuthorityInformationAccessOID.OCSP),
        access(AuthorityInformationAccessOID.CA_ISSUERS),
    )


def _value(extensions: Extensions, kind: type[Any]) -> Any:
    found = extensions.get(kind.oid)
    return found.value if found is not None and isinstance(found.value, kind) else None


def _check_rights(
    plan: CertificatePlan,
    extensions: Extensions,
    *,
    exact: bool,
) -> None:
    basic = _value(extensions, x509.BasicConstraints)
    _require(basic is None or not basic.ca, "issued.is-ca", "it is a CA certificate")
    usage = _value(extensions, x509.KeyUsage)
    found = set() if usage is None else set(key_usage_names(usage))
    planned = set(plan.key_usage)
    fits = found == planned if exact else found <= planned and bool(found) == bool(planned)
    _require(fits, "issued.usage", "other key usages")
    extended = _value(extensions, x509.ExtendedKeyUsage) or ()
    purposes = {oid.dotted_string for oid in extended}
    wanted = set(plan.extended_key_usage)
    # no extension at all would allow every purpose (RFC 5280 4.2.1.12)
    fits = purposes == wanted if exact else purposes <= wanted and bool(purposes) == bool(wanted)
    _require(fits, "issued.usage", "other extended key usages")


def _require(holds: bool, rule: str, message: str) -> None:
    if not holds:
        raise BackendRejected(rule, f"the CA's answer: {message}")
