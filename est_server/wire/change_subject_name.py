"""The CSR attribute that asks for other names (RFC 6402 2.8, RFC 7030 4.2.1 and 4.2.2).

    id-cmc-changeSubjectName OBJECT IDENTIFIER ::= { id-cmc 36 }

    ChangeSubjectName ::= SEQUENCE {
        subject     Name OPTIONAL,
        subjectAlt  SubjectAltName OPTIONAL }
        (WITH COMPONENTS {..., subject PRESENT} | WITH COMPONENTS {..., subjectAlt PRESENT})

Neither part is tagged and both are a SEQUENCE: what stands alone is told by what is in it, which is
a SET in a Name and a context-specific tag in a SubjectAltName.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asn1crypto import core
from asn1crypto import csr as asn1_csr
from asn1crypto import x509 as asn1_x509

from est_server.errors import Malformed
from est_server.wire.der import SEQUENCE, children, read_element
from est_server.wire.pkcs10 import CertificationRequest, parse_csr

if TYPE_CHECKING:
    from cryptography import x509

CHANGE_SUBJECT_NAME = "1.3.6.1.5.5.7.7.36"
_RULE = "csr.change-subject-name"
_CONTEXT = 0x80
_SET = 0x31


@dataclass(frozen=True, slots=True)
class ChangeSubjectName:
    """The names that are asked for; at least one of the two is there.

    Attributes:
        subject: None to keep the subject.
        subject_der: the same, as sent.
        subject_alternative_names: None to keep them.
    """

    subject: x509.Name | None
    subject_der: bytes | None
    subject_alternative_names: tuple[x509.GeneralName, ...] | None


def change_subject_name(csr: CertificationRequest) -> ChangeSubjectName | None:
    """Return the names that the attribute of `csr` asks for; None without the attribute.

    Raises:
        Malformed: ``csr.change-subject-name``.
    """
    values = [found.values for found in csr.attributes if found.oid == CHANGE_SUBJECT_NAME]
    if not values:
        return None
    ((value,),) = values
    try:
        subject, names = _parts(value)
        # a request with these names holds them to what holds for every request
        asked = parse_csr(_request(csr, subject, names))
    except (ValueError, TypeError, Malformed) as error:
        why = error.message if isinstance(error, Malformed) else "it can't be read"
        raise Malformed(_RULE, f"the ChangeSubjectName attribute: {why}") from error
    return ChangeSubjectName(
        subject=None if subject is None else asked.subject,
        subject_der=subject,
        subject_alternative_names=None if names is None else asked.subject_alternative_names,
    )


def _parts(value: bytes) -> tuple[bytes | None, bytes | None]:
    """Return subject and subjectAlt, each as sent, at least one of them."""
    if value[0] != SEQUENCE or read_element(value)[2] != len(value):
        raise ValueError("not one SEQUENCE")
    parts = children(value)
    match [_kind(part) for part in parts]:
        case ["name", "names"]:
            return parts[0], parts[1]
        case ["name"]:
            return parts[0], None
        case ["names"]:
            return None, parts[0]
    raise ValueError("neither a Name nor a SubjectAltName, or out of order")


def _kind(part: bytes) -> str:
    if part[0] != SEQUENCE:
        raise ValueError("not a SEQUENCE")
    inside = children(part)
    if all(one[0] == _SET for one in inside):
        return "name"  # empty too: SubjectAltName ::= SEQUENCE SIZE (1..MAX)
    if all(one[0] & _CONTEXT for one in inside):
        return "names"
    raise ValueError("neither a Name nor a SubjectAltName")


def _request(csr: CertificationRequest, subject: bytes | None, names: bytes | None) -> bytes:
    """Return `csr` with these names, no other attributes, and a signature that does not fit."""
    request = asn1_csr.CertificationRequest.load(csr.der)
    info = request["certification_request_info"]
    info["subject"] = asn1_x509.Name.load(csr.subject_der if subject is None else subject)
    info["attributes"] = asn1_csr.CRIAttributes([] if names is None else [_asking_for(names)])
    der: bytes = request.dump(force=True)
    return der


def _asking_for(names: bytes) -> dict[str, object]:
    value = core.ParsableOctetString(names)
    extension = {"extn_id": "subject_alt_name", "extn_value": value}
    return {"type": "extension_request", "values": [[extension]]}
