"""PKCS #10 certification requests (RFC 2986), as simpleenroll carries them (RFC 7030 4.2.1).

    CertificationRequest ::= SEQUENCE {
        certificationRequestInfo CertificationRequestInfo,
        signatureAlgorithm       AlgorithmIdentifier,
        signature                BIT STRING }

    CertificationRequestInfo ::= SEQUENCE {
        version       INTEGER { v1(0) },
        subject       Name,
        subjectPKInfo SubjectPublicKeyInfo,
        attributes    [0] IMPLICIT SET OF Attribute }

The library reads; what it leaves open is settled here: one value an attribute, no attribute and no
extension twice (RFC 2986 4.1 and RFC 5280 4.2 leave no meaning for a second one), bounded numbers
of everything. Every part is read at once, so that no odd encoding waits for a later access.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.errors import Malformed
from est_server.wire.der import require_one_sequence
from est_server.wire.keys import key_algorithm

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

T = TypeVar("T")

CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - an OID (RFC 2985 5.4.1)
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
MOST_ATTRIBUTES = 32
MOST_EXTENSIONS = 64
MOST_NAMES = 100
MOST_SUBJECT_OCTETS = 4096

_WEAK_HASHES = frozenset({"md5", "sha1"})
_TEXT_TAGS = {
    12: "utf-8",  # UTF8String
    19: "ascii",  # PrintableString
    20: "latin-1",  # TeletexString, as every deployed encoder means it
    22: "ascii",  # IA5String
    30: "utf-16-be",  # BMPString
}


@dataclass(frozen=True, slots=True)
class RequestedExtension:
    """An extension that the device asks for; `value` is the DER inside extnValue."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute with its one value: the value's tag number and its content octets."""

    oid: str
    tag: int
    content: bytes


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A request, read whole; its signature is checked by `verify_signature`.

    Attributes:
        der: the request.
        info_der: its CertificationRequestInfo, the octets that are signed.
        subject: the requested subject, possibly empty.
        spki: DER SubjectPublicKeyInfo.
        public_key: the same, usable.
        key_algorithm: its name (`est_server.wire.keys`).
        signature_hash: ``sha256`` and the like; None where the algorithm has no separate hash.
        subject_alternative_names: requested names, in order.
        extensions: all requested extensions, in order, subjectAltName included.
        challenge_password: RFC 2985 5.4.1, whatever its string type; None if absent.
        attributes: all attributes, in order.
    """

    der: bytes
    info_der: bytes
    subject: x509.Name
    spki: bytes
    public_key: PublicKeyTypes
    key_algorithm: str
    signature_hash: str | None
    subject_alternative_names: tuple[x509.GeneralName, ...]
    extensions: tuple[RequestedExtension, ...]
    challenge_password: str | None
    attributes: tuple[Attribute, ...]


def parse_csr(der: bytes) -> CertificationRequest:
    """Read a DER CertificationRequest.

    Raises:
        Malformed: ``csr.encoding``, ``csr.trailing-bytes``, ``csr.subject``, ``csr.key``,
            ``csr.key-unsupported``, ``csr.attributes``, ``csr.duplicate-attribute``,
            ``csr.extensions``, ``csr.duplicate-extension``, ``csr.names``,
            ``csr.challenge-password``, ``csr.signature-algorithm``.
    """
    require_one_sequence(der, "csr")
    csr = _read("csr.encoding", "this is not a PKCS #10 request", _load, der)
    subject = _read("csr.subject", "the subject can't be read", lambda: csr.subject)
    if len(_read("csr.subject", "the subject can't be read", subject.public_bytes)) > (
        MOST_SUBJECT_OCTETS
    ):
        raise Malformed("csr.subject", f"the subject has more than {MOST_SUBJECT_OCTETS} octets")
    key = _key(csr)
    algorithm = key_algorithm(key)
    if algorithm is None:
        raise Malformed("csr.key-unsupported", "a key of this kind can't sign")
    spki = _read(
        "csr.key",
        "the public key can't be read",
        lambda: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )
    attributes = _attributes(csr)
    extensions = _extensions(csr, attributes)
    return CertificationRequest(
        der=der,
        info_der=csr.tbs_certrequest_bytes,
        subject=subject,
        spki=spki,
        public_key=key,
        key_algorithm=algorithm,
        signature_hash=_signature_hash(csr),
        subject_alternative_names=_alternative_names(extensions),
        extensions=tuple(
            RequestedExtension(
                extension.oid.dotted_string, extension.critical, extension.value.public_bytes()
            )
            for extension in extensions
        ),
        challenge_password=_challenge_password(attributes),
        attributes=attributes,
    )


def verify_signature(csr: CertificationRequest) -> None:
    """Check the request's signature with its own key: proof of possession (RFC 7030 4.2.1).

    Raises:
        Malformed: ``csr.weak-hash`` for MD5 and SHA-1; ``csr.signature`` if it does not fit.
    """
    if csr.signature_hash in _WEAK_HASHES:
        raise Malformed(
            "csr.weak-hash", f"the request is signed with {csr.signature_hash}; use SHA-256"
        )
    valid = _read(
        "csr.signature-algorithm",
        "the signature's algorithm is not supported",
        lambda: _load(csr.der).is_signature_valid,
    )
    if not valid:
        raise Malformed("csr.signature", "the request's signature does not fit its key")


def _read(rule: str, message: str, read: Callable[..., T], *arguments: object) -> T:
    """Run a library call whose failures are the sender's."""
    try:
        return read(*arguments)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Malformed(rule, message) from error


def _load(der: bytes) -> x509.CertificateSigningRequest:
    return x509.load_der_x509_csr(der)


def _key(csr: x509.CertificateSigningRequest) -> PublicKeyTypes:
    try:
        return csr.public_key()
    except UnsupportedAlgorithm as error:
        raise Malformed("csr.key-unsupported", "the key's algorithm is not supported") from error
    except (ValueError, TypeError) as error:
        raise Malformed("csr.key", "the public key can't be read") from error


def _signature_hash(csr: x509.CertificateSigningRequest) -> str | None:
    algorithm = _read(
        "csr.signature-algorithm",
        "the signature's algorithm is not supported",
        lambda: csr.signature_hash_algorithm,
    )
    return None if algorithm is None else algorithm.name


def _attributes(csr: x509.CertificateSigningRequest) -> tuple[Attribute, ...]:
    found = _read("csr.attributes", "the attributes can't be read", lambda: list(csr.attributes))
    if len(found) > MOST_ATTRIBUTES:
        raise Malformed("csr.attributes", f"more than {MOST_ATTRIBUTES} attributes")
    attributes = tuple(
        Attribute(attribute.oid.dotted_string, attribute._type, attribute.value)  # noqa: SLF001 - the tag has no public name, and decides how challengePassword is read
        for attribute in found
    )
    if len({attribute.oid for attribute in attributes}) < len(attributes):
        raise Malformed("csr.duplicate-attribute", "an attribute stands twice")
    return attributes


def _extensions(
    csr: x509.CertificateSigningRequest, attributes: tuple[Attribute, ...]
) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    if not any(attribute.oid == EXTENSION_REQUEST for attribute in attributes):
        return ()
    try:
        found = tuple(csr.extensions)
    except x509.DuplicateExtension as error:
        raise Malformed("csr.duplicate-extension", "an extension stands twice") from error
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as error:
        raise Malformed("csr.extensions", "the requested extensions can't be read") from error
    if len(found) > MOST_EXTENSIONS:
        raise Malformed("csr.extensions", f"more than {MOST_EXTENSIONS} extensions")
    return found


def _alternative_names(
    extensions: tuple[x509.Extension[x509.ExtensionType], ...],
) -> tuple[x509.GeneralName, ...]:
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = tuple(extension.value)
            if len(names) > MOST_NAMES:
                raise Malformed("csr.names", f"more than {MOST_NAMES} alternative names")
            return names
    return ()


def _challenge_password(attributes: tuple[Attribute, ...]) -> str | None:
    for attribute in attributes:
        if attribute.oid != CHALLENGE_PASSWORD:
            continue
        encoding = _TEXT_TAGS.get(attribute.tag)
        if encoding is None:
            raise Malformed("csr.challenge-password", "the challengePassword is not a string")
        return _read(
            "csr.challenge-password",
            "the challengePassword can't be read",
            attribute.content.decode,
            encoding,
        )
    return None
