"""A certificate plan, read back from where it was written down.

The JSON of a plan is for people: names are text in it, and the key is a digest. What it leaves out
is kept beside it in the form that every library reads, a certification request without a
signature:

    CertificationRequest ::= SEQUENCE {                              -- RFC 2986 4.2
        certificationRequestInfo  { version 0, subject, subjectPKInfo, attributes },
        signatureAlgorithm        ecdsa-with-SHA256,                 -- of nothing
        signature                 BIT STRING ''B }
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from asn1crypto import algos, core, csr, keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509

from est_server.pki.plan import CertificatePlan, Pointers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def encode_names(plan: CertificatePlan) -> bytes:
    """Return subject, subjectAltNames and key of `plan` as one DER structure."""
    attributes = []
    if plan.subject_alternative_names:
        san = asn1_x509.GeneralNames.load(
            x509.SubjectAlternativeName(plan.subject_alternative_names).public_bytes()
        )
        wanted = asn1_x509.Extension(
            {"extn_id": "subject_alt_name", "critical": False, "extn_value": san}
        )
        attributes.append({"type": "extension_request", "values": [[wanted]]})
    info = csr.CertificationRequestInfo(
        {
            "version": "v1",
            "subject": asn1_x509.Name.load(plan.subject.public_bytes()),
            "subject_pk_info": keys.PublicKeyInfo.load(plan.spki),
            "attributes": csr.CRIAttributes(attributes),
        }
    )
    der: bytes = csr.CertificationRequest(
        {
            "certification_request_info": info,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
            "signature": core.OctetBitString(b""),
        }
    ).dump()
    return der


def decode_plan(text: str, names: bytes) -> CertificatePlan:
    """Return the plan whose `CertificatePlan.as_json` is `text`.

    Args:
        text: the JSON.
        names: from `encode_names`.
    """
    found: Mapping[str, Any] = json.loads(text)
    request = x509.load_der_x509_csr(names)
    info = csr.CertificationRequest.load(names)["certification_request_info"]
    spki = info["subject_pk_info"]
    san: tuple[x509.GeneralName, ...] = ()
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            san = tuple(extension.value)
    return CertificatePlan(
        ca=found["ca"],
        subject=request.subject,
        subject_alternative_names=san,
        spki=spki.dump(),
        key_algorithm=found["key_algorithm"],
        not_before=datetime.fromisoformat(found["not_before"]),
        not_after=datetime.fromisoformat(found["not_after"]),
        key_usage=tuple(found["key_usage"]),
        extended_key_usage=tuple(found["extended_key_usage"]),
        certificate_policies=tuple(found["certificate_policies"]),
        pointers=Pointers(
            tuple(found["crl"]),
            tuple(found["freshest_crl"]),
            tuple(found["ocsp"]),
            tuple(found["ca_issuers"]),
        ),
        crl_shard=found["crl_shard"],
        ocsp_nocheck=found["ocsp_nocheck"],
    )
