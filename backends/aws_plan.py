"""A certificate plan in the words of AWS Private CA's ApiPassthrough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509

if TYPE_CHECKING:
    from est_server.pki.plan import CertificatePlan

_USAGES = {
    "digitalSignature": "DigitalSignature",
    "contentCommitment": "NonRepudiation",
    "keyEncipherment": "KeyEncipherment",
    "dataEncipherment": "DataEncipherment",
    "keyAgreement": "KeyAgreement",
    "keyCertSign": "KeyCertSign",
    "cRLSign": "CRLSign",
    "encipherOnly": "EncipherOnly",
    "decipherOnly": "DecipherOnly",
}

_WEB = ("digitalSignature", "keyEncipherment")
_SERVER, _CLIENT, _CODE = (f"1.3.6.1.5.5.7.3.{number}" for number in (1, 2, 3))
_WRITES = {
    "EndEntityCertificate": (*_WEB, _SERVER, _CLIENT),
    "EndEntityClientAuthCertificate": (*_WEB, _CLIENT),
    "EndEntityServerAuthCertificate": (*_WEB, _SERVER),
    "CodeSigningCertificate": ("digitalSignature", _CODE),
}
"""Template -> the usages and purposes that its definition puts into every certificate."""


def written_by(template: str) -> frozenset[str]:
    """Return the usages and purposes that stand in every certificate of a template's ARN.

    What passes through beside them changes nothing about them: the definition comes first.
    """
    name = template.split("/")[1].partition("_")[0]
    return frozenset(_WRITES.get(name, ()))


def api_passthrough(plan: CertificatePlan) -> dict[str, Any]:
    """Return subject and extensions of `plan` as IssueCertificate takes them.

    The subject is given attribute by attribute under its OIDs, in the plan's order.
    """
    extensions: dict[str, Any] = {}
    if plan.key_usage:
        extensions["KeyUsage"] = {_USAGES[name]: True for name in plan.key_usage}
    if plan.extended_key_usage:
        extensions["ExtendedKeyUsage"] = [
            {"ExtendedKeyUsageObjectIdentifier": oid} for oid in plan.extended_key_usage
        ]
    if plan.certificate_policies:
        extensions["CertificatePolicies"] = [
            {"CertPolicyId": oid} for oid in plan.certificate_policies
        ]
    if plan.subject_alternative_names:
        names = [_general_name(name) for name in plan.subject_alternative_names]
        extensions["SubjectAlternativeNames"] = names
    subject = [
        {"ObjectIdentifier": attribute.oid.dotted_string, "Value": str(attribute.value)}
        for attribute in plan.subject
    ]
    return {
        **({"Extensions": extensions} if extensions else {}),
        **({"Subject": {"CustomAttributes": subject}} if subject else {}),
    }


def _general_name(name: x509.GeneralName) -> dict[str, str]:
    match name:
        case x509.DNSName():
            return {"DnsName": name.value}
        case x509.IPAddress():
            return {"IpAddress": str(name.value)}
        case x509.RFC822Name():
            return {"Rfc822Name": name.value}
        case x509.UniformResourceIdentifier():
            return {"UniformResourceIdentifier": name.value}
    raise TypeError(f"no {type(name).__name__}: the capabilities leave it out")
