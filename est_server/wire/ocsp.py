"""OCSP requests (RFC 6960 4.1), several certificates in one among them.

    OCSPRequest ::= SEQUENCE {
        tbsRequest        TBSRequest,
        optionalSignature [0] EXPLICIT Signature OPTIONAL }
    TBSRequest  ::= SEQUENCE {
        version           [0] EXPLICIT Version DEFAULT v1,
        requestorName     [1] EXPLICIT GeneralName OPTIONAL,
        requestList       SEQUENCE OF Request,
        requestExtensions [2] EXPLICIT Extensions OPTIONAL }
    Request     ::= SEQUENCE {
        reqCert           CertID,
        singleRequestExtensions [0] EXPLICIT Extensions OPTIONAL }
    CertID      ::= SEQUENCE {
        hashAlgorithm AlgorithmIdentifier, issuerNameHash OCTET STRING,
        issuerKeyHash OCTET STRING, serialNumber CertificateSerialNumber }

A signed request is read like any other and its signature is left alone: a status is nobody's
secret, so who asks makes no difference (RFC 6960 4.1.2 leaves the choice).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from asn1crypto import core, ocsp

from est_server.errors import Malformed
from est_server.wire.der import OCTET_STRING, SEQUENCE, children, read_element, require_one_sequence

MOST_OCTETS = 16384
MOST_CERTIFICATES = 32
MOST_EXTENSIONS = 16
MOST_NONCE_OCTETS = 128
MOST_SERIAL_OCTETS = 21
"""RFC 5280 4.1.2.2 gives 20; CAs that forget about the sign write one more."""

NONCE = "1.3.6.1.5.5.7.48.1.2"
_UNDERSTOOD = frozenset(
    {
        NONCE,
        "1.3.6.1.5.5.7.48.1.4",  # acceptable responses: there is but one kind
        "1.3.6.1.5.5.7.48.1.8",  # preferred signature algorithms: the responder's key has one
    }
)
_NULL = b"\x05\x00"
_VERSION_1 = b"\xa0\x03\x02\x01\x00"
_INTEGER, _ZERO, _ONE, _TWO = 0x02, 0xA0, 0xA1, 0xA2


class Extension(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    """An extension whose value is left as it is; asn1crypto's own reads a nonce, bare or not."""

    _fields = [  # noqa: RUF012 - its API
        ("extn_id", core.ObjectIdentifier),
        ("critical", core.Boolean, {"default": False}),
        ("extn_value", core.OctetString),
    ]


@dataclass(frozen=True, slots=True)
class CertId:
    """Which certificate is asked about.

    Attributes:
        der: the CertID as sent: a client looks for these very octets in the response, and some
            compare them one by one.
        hash_algorithm: ``sha1``, ``sha256``, or a dotted OID without a name here.
        issuer_name_hash: of the DER of the issuer's subject.
        issuer_key_hash: of the issuer's key, the content of the BIT STRING without its first octet.
        serial_number: of the certificate.
        usual: whether `hash_algorithm` has the NULL parameters that RFC 6960 4.1.1 shows.
    """

    der: bytes
    hash_algorithm: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int
    usual: bool


@dataclass(frozen=True, slots=True)
class OcspRequest:
    """A request, read whole.

    Attributes:
        cert_ids: at least one, in order.
        nonce: the extension's value as sent, to be copied (RFC 9654 2.1); None without one.
    """

    cert_ids: tuple[CertId, ...]
    nonce: bytes | None = None


def parse_ocsp_request(der: bytes) -> OcspRequest:
    """Read a DER OCSPRequest.

    Raises:
        Malformed: ``ocsp.encoding``, ``ocsp.trailing-bytes``, ``ocsp.too-large``,
            ``ocsp.too-many``, ``ocsp.version``, ``ocsp.serial-number``, ``ocsp.nonce``,
            ``ocsp.critical-extension``, ``ocsp.extensions``.
    """
    if len(der) > MOST_OCTETS:
        raise Malformed("ocsp.too-large", f"the request has more than {MOST_OCTETS} octets")
    require_one_sequence(der, "ocsp")
    try:
        tbs, _signature = _fields(der, SEQUENCE, -_ZERO)
        version, _name, requests, extensions = _fields(tbs, -_ZERO, -_ONE, SEQUENCE, -_TWO)
        if version not in {None, _VERSION_1}:
            raise Malformed("ocsp.version", "the request's version is not 1")
        return OcspRequest(_cert_ids(requests), _nonce(extensions))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed("ocsp.encoding", "this is not an OCSP request") from error


def _fields(der: bytes, *tags: int) -> list[Any]:
    """Return the fields of a SEQUENCE by their tags; None for one that is not there.

    asn1crypto lets fields pass that stand behind an optional one, and reads an absent one as a
    default; this does neither.

    Args:
        der: the SEQUENCE.
        tags: identifier octets in order, negative for what may be absent.

    Raises:
        ValueError: another field, another order, or a missing one.
    """
    rest = _elements(der)
    found: list[bytes | None] = []
    for tag in tags:
        present = bool(rest) and rest[0][0] == abs(tag)
        if not present and tag > 0:
            raise ValueError("a field is missing")
        found.append(rest.pop(0) if present else None)
    if rest:
        raise ValueError("a field is not expected here")
    return found


def _elements(sequence: bytes) -> list[bytes]:
    if sequence[0] != SEQUENCE:
        raise ValueError("this is not a SEQUENCE")
    return children(sequence)


def _cert_ids(requests: bytes) -> tuple[CertId, ...]:
    found = _elements(requests)
    if not 1 <= len(found) <= MOST_CERTIFICATES:
        raise Malformed("ocsp.too-many", f"a request asks about 1 to {MOST_CERTIFICATES}")
    cert_ids = []
    for request in found:
        cert_id, extensions = _fields(request, SEQUENCE, -_ZERO)
        _extensions(extensions)
        cert_ids.append(_cert_id(cert_id))
    return tuple(cert_ids)


def _cert_id(der: bytes) -> CertId:
    _fields(der, SEQUENCE, OCTET_STRING, OCTET_STRING, _INTEGER)
    found = ocsp.CertId.load(der, strict=True)
    algorithm, serial_number = found["hash_algorithm"], found["serial_number"]
    if not 1 <= len(serial_number.contents) <= MOST_SERIAL_OCTETS:
        text = f"a serial number has 1 to {MOST_SERIAL_OCTETS} octets"
        raise Malformed("ocsp.serial-number", text)
    return CertId(
        der=der,
        hash_algorithm=algorithm["algorithm"].native,
        issuer_name_hash=found["issuer_name_hash"].native,
        issuer_key_hash=found["issuer_key_hash"].native,
        serial_number=serial_number.native,
        usual=algorithm.dump().endswith(_NULL),
    )


def _nonce(extensions: bytes | None) -> bytes | None:
    """Return the nonce's value; its length is that of the OCTET STRING inside (RFC 9654 2.1).

    Programs that follow RFC 2560 to the letter put bare octets there.
    """
    value = _extensions(extensions).get(NONCE)
    if value is None:
        return None
    nonce = value
    if value[:1] == bytes([OCTET_STRING]):
        try:
            _, start, end = read_element(value)
        except ValueError:
            end = -1
        if end == len(value):
            nonce = value[start:]
    if not 1 <= len(nonce) <= MOST_NONCE_OCTETS:
        raise Malformed("ocsp.nonce", f"a nonce has 1 to {MOST_NONCE_OCTETS} octets")
    return value


def _extensions(tagged: bytes | None) -> dict[str, bytes]:
    """Return extension values by OID; a critical one must be understood (RFC 6960 4.4)."""
    found: dict[str, bytes] = {}
    if tagged is None:
        return found
    (extensions,) = children(tagged)
    for count, der in enumerate(_elements(extensions), start=1):
        extension = Extension.load(der, strict=True)
        oid, value = extension["extn_id"].native, extension["extn_value"].native
        if extension["critical"].native and oid not in _UNDERSTOOD:
            raise Malformed("ocsp.critical-extension", f"the critical extension {oid} is unknown")
        if oid in found or count > MOST_EXTENSIONS:
            raise Malformed("ocsp.extensions", "an extension stands twice, or there are too many")
        found[oid] = value
    return found
