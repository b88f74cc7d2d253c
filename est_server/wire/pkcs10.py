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
of everything, a key in its one usual form. Every part is read at once, so that no odd encoding
waits for a later access.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.errors import Malformed
from est_server.wire.challenges import (
    CHALLENGE_PASSWORD,
    EST_IDENTITY_LINKING,
    OTP_CHALLENGE,
    challenge_text,
)
from est_server.wire.der import children, require_one_sequence
from est_server.wire.keys import key_algorithm
from est_server.wire.names import require_clean_general_names, require_clean_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

T = TypeVar("T")

EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
MICROSOFT_EXTENSION_REQUEST = "1.3.6.1.4.1.311.2.1.14"
MOST_ATTRIBUTES = 32
MOST_EXTENSIONS = 64
MOST_NAMES = 100
MOST_SUBJECT_OCTETS = 4096

_WEAK_HASHES = frozenset({"md5", "sha1"})
_EXTENSION_REQUESTS = frozenset({EXTENSION_REQUEST, MICROSOFT_EXTENSION_REQUEST})


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute and its values, each the DER that was sent; `parse_csr` lets one through."""

    oid: str
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """A request, read whole; its signature is checked by `verify_signature`.

    Attributes:
        der: the request.
        info_der: its CertificationRequestInfo, the octets that are signed.
        subject: the requested subject, possibly empty.
        subject_der: the same, as sent.
        spki: DER SubjectPublicKeyInfo as certificates carry it: the same for the same key, however
            the device encoded it, so that a revoked key can't come back as another point form.
        public_key: the same, usable; None if it was left out.
        key_algorithm: its name (`est_server.wire.keys`).
        signature_hash: ``sha256`` and the like; None where the algorithm has no separate hash.
        subject_alternative_names: requested names, in order.
        extensions: all requested extensions, in order, subjectAltName included.
        challenge_password: RFC 2985 5.4.1, whatever its string type; None if absent.
        otp_challenge: RFC 7894 3.1, likewise.
        est_identity_linking: RFC 7894 3.3, likewise.
        attributes: all attributes, in order.
    """

    der: bytes
    info_der: bytes
    subject: x509.Name
    subject_der: bytes
    spki: bytes
    public_key: PublicKeyTypes | None
    key_algorithm: str
    signature_hash: str | None
    subject_alternative_names: tuple[x509.GeneralName, ...]
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]
    challenge_password: str | None
    otp_challenge: str | None
    est_identity_linking: str | None
    attributes: tuple[Attribute, ...]


def parse_csr(der: bytes, *, keyless: bool = False) -> CertificationRequest:
    """Read a DER CertificationRequest.

    Args:
        der: the request.
        keyless: leave its key and its signature out, whatever they are (RFC 7030 4.4.1): `spki` is
            empty then, `public_key` None, and `key_algorithm` empty if it can't be told.

    Raises:
        Malformed: ``csr.encoding``, ``csr.trailing-bytes``, ``csr.subject``, ``csr.key``,
            ``csr.key-unsupported``, ``csr.attributes``, ``csr.duplicate-attribute``,
            ``csr.extensions``, ``csr.duplicate-extension``, ``csr.names``,
            ``csr.challenge-password``, ``csr.otp-challenge``, ``csr.est-identity-linking``,
            ``csr.signature-algorithm``.
    """
    # (1) one whole PKCS #10 structure
    require_one_sequence(der, "csr")
    csr = _read("csr.encoding", "this is not a PKCS #10 request", lambda: _load(der))
    info_der = csr.tbs_certrequest_bytes
    _, subject_der, sent_spki, sent_attributes = children(info_der)
    # (2) the subject
    if len(subject_der) > MOST_SUBJECT_OCTETS:
        raise Malformed("csr.subject", f"the subject has more than {MOST_SUBJECT_OCTETS} octets")
    subject = _read("csr.subject", "the subject can't be read", lambda: csr.subject)
    require_clean_name(subject, "csr.subject")
    # (3) the key, and the algorithm that signed with it
    key: PublicKeyTypes | None
    if keyless:
        key, algorithm, spki, signature_hash = None, _algorithm_only(csr), b"", None
    else:
        key, algorithm, spki = _key(csr, sent_spki)
        signature_hash = _signature_hash(csr)
    # (4) the attributes, and the extensions among them
    attributes = _attributes(csr, sent_attributes)
    extensions = _extensions(csr, attributes)
    return CertificationRequest(
        der=der,
        info_der=info_der,
        subject=subject,
        subject_der=subject_der,
        spki=spki,
        public_key=key,
        key_algorithm=algorithm,
        signature_hash=signature_hash,
        subject_alternative_names=_alternative_names(extensions),
        extensions=extensions,
        challenge_password=challenge_text(attributes, CHALLENGE_PASSWORD),
        otp_challenge=challenge_text(attributes, OTP_CHALLENGE),
        est_identity_linking=challenge_text(attributes, EST_IDENTITY_LINKING),
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


def _read(rule: str, message: str, read: Callable[[], T]) -> T:
    """Run a library call whose failures are the sender's.

    UserWarning is how cryptography remarks on a name's length; where warnings are errors it is
    one failure more.
    """
    try:
        return read()
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        UserWarning,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise Malformed(rule, message) from error


def _load(der: bytes) -> x509.CertificateSigningRequest:
    return x509.load_der_x509_csr(der)


def _key(csr: x509.CertificateSigningRequest, sent: bytes) -> tuple[PublicKeyTypes, str, bytes]:
    """Return the key, its algorithm's name and its SubjectPublicKeyInfo."""
    try:
        key = csr.public_key()
    except UnsupportedAlgorithm as error:
        raise Malformed("csr.key-unsupported", "the key's algorithm is not supported") from error
    except (ValueError, TypeError) as error:
        raise Malformed("csr.key", "the public key can't be read") from error
    name = key_algorithm(key)
    if name is None:
        raise Malformed("csr.key-unsupported", "a key of this kind can't sign")
    spki = _read(
        "csr.key",
        "the public key can't be read",
        lambda: key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )
    # EC parameters spelled out (forbidden by RFC 5480 2.1.1) and keys restricted to PSS come out
    # of the library as ordinary P-256 and RSA: not the key that was asked for
    if sent != spki and children(sent)[0] != children(spki)[0]:
        raise Malformed("csr.key-unsupported", "the key's AlgorithmIdentifier is not the usual one")
    return key, name, spki


def _algorithm_only(csr: x509.CertificateSigningRequest) -> str:
    try:
        return key_algorithm(csr.public_key()) or ""
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ""


def _signature_hash(csr: x509.CertificateSigningRequest) -> str | None:
    algorithm = _read(
        "csr.signature-algorithm",
        "the signature's algorithm is not supported",
        lambda: csr.signature_hash_algorithm,
    )
    return None if algorithm is None else algorithm.name


def _attributes(csr: x509.CertificateSigningRequest, sent: bytes) -> tuple[Attribute, ...]:
    found = _read("csr.attributes", "the attributes can't be read", lambda: tuple(csr.attributes))
    if len(found) > MOST_ATTRIBUTES:
        raise Malformed("csr.attributes", f"more than {MOST_ATTRIBUTES} attributes")
    attributes = tuple(
        Attribute(attribute.oid.dotted_string, tuple(children(children(element)[1])))
        for attribute, element in zip(found, children(sent), strict=True)
    )
    oids = [attribute.oid for attribute in attributes]
    if len(set(oids)) < len(oids) or set(oids) >= _EXTENSION_REQUESTS:
        # of the two extension requests the library reads the first, a CA behind us maybe the other
        raise Malformed("csr.duplicate-attribute", "an attribute stands twice")
    return attributes


def _extensions(
    csr: x509.CertificateSigningRequest, attributes: tuple[Attribute, ...]
) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    if not any(attribute.oid in _EXTENSION_REQUESTS for attribute in attributes):
        return ()
    try:
        found = _read(
            "csr.extensions",
            "the requested extensions can't be read",
            lambda: tuple(csr.extensions),
        )
    except x509.DuplicateExtension as error:
        raise Malformed("csr.duplicate-extension", "an extension stands twice") from error
    if len(found) > MOST_EXTENSIONS:
        raise Malformed("csr.extensions", f"more than {MOST_EXTENSIONS} extensions")
    return found


def _alternative_names(
    extensions: tuple[x509.Extension[x509.ExtensionType], ...],
) -> tuple[x509.GeneralName, ...]:
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names = tuple(extension.value)
            if not 1 <= len(names) <= MOST_NAMES:
                raise Malformed("csr.names", f"alternative names number 1 to {MOST_NAMES}")
            require_clean_general_names(names, "csr.names")
            return names
    return ()
