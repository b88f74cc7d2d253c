"""Full PKI Requests of CMC (RFC 5272 3.2.1), as fullcmc carries them (RFC 7030 4.3.1).

    ContentInfo { id-signedData, SignedData { encapContentInfo { id-cct-PKIData, PKIData } } }

    PKIData ::= SEQUENCE {
        controlSequence  SEQUENCE SIZE(0..MAX) OF TaggedAttribute,
        reqSequence      SEQUENCE SIZE(0..MAX) OF TaggedRequest,
        cmsSequence      SEQUENCE SIZE(0..MAX) OF TaggedContentInfo,
        otherMsgSequence SEQUENCE SIZE(0..MAX) OF OtherMsg }

    TaggedAttribute ::= SEQUENCE {
        bodyPartID BodyPartID, attrType OBJECT IDENTIFIER, attrValues SET OF AttributeValue }

    TaggedRequest ::= CHOICE {
        tcr [0] TaggedCertificationRequest,
        crm [1] CertReqMsg,
        orm [2] SEQUENCE { bodyPartID BodyPartID, ... } }

    TaggedCertificationRequest ::= SEQUENCE {
        bodyPartID BodyPartID, certificationRequest CertificationRequest }

    BodyPartID ::= INTEGER (0..4294967295)

One PKCS #10 request in a message is read, with one signature over it. CMS is BER, and clients
write indefinite lengths; asn1crypto reads them down to a depth of ten. What a message holds that is
not read here (CRMF, nested messages, controls without a meaning here) is refused, not skipped: RFC
5272 6 has no part of a request succeed that holds what the server does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from asn1crypto import cms, core

from est_server.errors import Malformed
from est_server.wire.signer_info import require_signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

T = TypeVar("T")

SIGNED_DATA = "1.2.840.113549.1.7.2"
PKI_DATA = "1.3.6.1.5.5.7.12.2"
TRANSACTION_ID = "1.3.6.1.5.5.7.7.5"
SENDER_NONCE = "1.3.6.1.5.5.7.7.6"
RA_POP_WITNESS = "1.3.6.1.5.5.7.7.11"
LARGEST = 65536
MOST_CONTROLS = 32
MOST_CERTIFICATES = 16
LONGEST_NONCE = 64
LONGEST_TRANSACTION_ID = 64
_LARGEST_BODY_PART = 4294967295


@dataclass(frozen=True, slots=True)
class SignerIdentifier:
    """Who signed: one of the two is there.

    Attributes:
        issuer_and_serial: DER of the issuer's name, and the serial number.
        key_identifier: a subjectKeyIdentifier.
    """

    issuer_and_serial: tuple[bytes, int] | None
    key_identifier: bytes | None


@dataclass(frozen=True, slots=True)
class FullPkiRequest:
    """A Full PKI Request, read whole; `verify` checks its signature.

    Attributes:
        csr: DER of its PKCS #10 request, not read yet.
        body_part: the request's bodyPartID.
        signer: who signed.
        transaction_id: RFC 5272 6.6; None if absent.
        sender_nonce: RFC 5272 6.6; None if absent.
        pop_witness: a registrar says that it has verified proof of possession (RFC 5272 6.7).
    """

    csr: bytes
    body_part: int
    signer: SignerIdentifier
    transaction_id: int | None
    sender_nonce: bytes | None
    pop_witness: bool
    _content: bytes
    _info: Any

    def verify(self, key: PublicKeyTypes) -> None:
        """Check the signature with the signer's key.

        Raises:
            Malformed: ``cmc.algorithm``, ``cmc.signature``, ``cmc.encoding``.
        """
        _read(lambda: require_signature(self._info, key, self._content, PKI_DATA, "cmc"))


class _Attribute(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012 - the library's own form
        ("body_part", core.Integer),
        ("type", core.ObjectIdentifier),
        ("values", core.SetOf, {"spec": core.Any}),
    ]


class _Attributes(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _Attribute


class _Anything(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.Any


class _Request(core.Sequence):  # type: ignore[misc]
    _fields = [("body_part", core.Integer), ("csr", core.Sequence)]  # noqa: RUF012 - the library's own form


class _TaggedRequest(core.Choice):  # type: ignore[misc]
    _alternatives = [  # noqa: RUF012 - the library's own form
        ("tcr", _Request, {"implicit": 0}),
        ("crm", core.Sequence, {"implicit": 1}),
        ("orm", core.Sequence, {"implicit": 2}),
    ]


class _Requests(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _TaggedRequest


class _PkiData(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012 - the library's own form
        ("controls", _Attributes),
        ("requests", _Requests),
        ("messages", _Anything),
        ("others", _Anything),
    ]


class _Witness(core.Sequence):  # type: ignore[misc]
    """LraPopWitness ::= SEQUENCE { pkiDataBodyid BodyPartID, bodyIds SEQUENCE OF BodyPartID }."""

    _fields = [  # noqa: RUF012 - the library's own form
        ("pki_data", core.Integer),
        ("body_parts", core.SequenceOf, {"spec": core.Integer}),
    ]


def parse_request(ber: bytes) -> FullPkiRequest:
    """Read a Full PKI Request.

    Raises:
        Malformed: ``cmc.encoding``, ``cmc.too-large``, ``cmc.content-type``, ``cmc.signers``,
            ``cmc.requests``, ``cmc.body-part``, ``cmc.unsupported``, ``cmc.control``.
    """
    if len(ber) > LARGEST:
        raise Malformed("cmc.too-large", f"the message has more than {LARGEST} octets")
    content, info = _read(lambda: _signed(ber))
    return _read(lambda: _pki_data(content, info))


def _read(read: Callable[[], T]) -> T:
    """Run what reads; failures of the library are the sender's."""
    try:
        return read()
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        RecursionError,
        AttributeError,
    ) as error:
        raise Malformed("cmc.encoding", "this is not a Full PKI Request") from error


def _signed(ber: bytes) -> tuple[bytes, Any]:
    """Return the PKIData and the one SignerInfo."""
    message = cms.ContentInfo.load(ber, strict=True)
    if message["content_type"].dotted != SIGNED_DATA:
        raise Malformed("cmc.content-type", "the message is not SignedData")
    signed = message["content"]
    encapsulated = signed["encap_content_info"]
    if encapsulated["content_type"].dotted != PKI_DATA:
        raise Malformed("cmc.content-type", "the content is not PKIData (RFC 5272 3.2.1)")
    if len(signed["certificates"]) > MOST_CERTIFICATES:
        raise Malformed("cmc.signers", f"more than {MOST_CERTIFICATES} certificates")
    signers = signed["signer_infos"]
    if len(signers) != 1:
        raise Malformed("cmc.signers", f"the message has {len(signers)} signatures, not one")
    return bytes(encapsulated["content"]), signers[0]


def _pki_data(content: bytes, info: Any) -> FullPkiRequest:
    data = _PkiData.load(content, strict=True)
    if len(data["messages"]) or len(data["others"]):
        raise Malformed("cmc.unsupported", "nested and other messages are not read here")
    body_part, csr = _request(data["requests"])
    controls = _controls(data["controls"], body_part)
    return FullPkiRequest(
        csr=csr,
        body_part=body_part,
        signer=_signer(info["sid"]),
        transaction_id=_transaction_id(controls.get(TRANSACTION_ID)),
        sender_nonce=_nonce(controls.get(SENDER_NONCE)),
        pop_witness=_witnessed(controls.get(RA_POP_WITNESS), body_part),
        _content=content,
        _info=info,
    )


def _request(sent: Any) -> tuple[int, bytes]:
    if len(sent) != 1:
        raise Malformed("cmc.requests", f"the message has {len(sent)} requests, not one")
    if sent[0].name != "tcr":
        raise Malformed("cmc.unsupported", "a request that is no PKCS #10 is not read here")
    request = sent[0].chosen
    return _body_part(request["body_part"]), request["csr"].dump()


def _controls(sent: Any, body_part: int) -> dict[str, bytes]:
    if len(sent) > MOST_CONTROLS:
        raise Malformed("cmc.control", f"more than {MOST_CONTROLS} controls")
    found: dict[str, bytes] = {}
    parts = {body_part}
    for control in sent:
        oid = control["type"].dotted
        if oid not in {TRANSACTION_ID, SENDER_NONCE, RA_POP_WITNESS}:
            raise Malformed("cmc.unsupported", f"control {oid} is not known here")
        if oid in found or len(control["values"]) != 1:
            raise Malformed("cmc.control", f"control {oid} stands twice")
        parts.add(_body_part(control["body_part"]))
        found[oid] = control["values"][0].dump()
    if len(parts) <= len(found):
        raise Malformed("cmc.body-part", "a bodyPartID stands twice (RFC 5272 3.2.2)")
    return found


def _body_part(sent: Any) -> int:
    number: int = sent.native
    if not 0 < number <= _LARGEST_BODY_PART:
        raise Malformed("cmc.body-part", f"a bodyPartID is 1 to {_LARGEST_BODY_PART}")
    return number


def _transaction_id(ber: bytes | None) -> int | None:
    if ber is None:
        return None
    if len(ber) > LONGEST_TRANSACTION_ID:
        raise Malformed("cmc.control", "the transactionId is too long")
    number: int = core.Integer.load(ber, strict=True).native
    return number


def _nonce(ber: bytes | None) -> bytes | None:
    if ber is None:
        return None
    nonce: bytes = core.OctetString.load(ber, strict=True).native
    if len(nonce) > LONGEST_NONCE:
        raise Malformed("cmc.control", f"the senderNonce has more than {LONGEST_NONCE} octets")
    return nonce


def _witnessed(ber: bytes | None, body_part: int) -> bool:
    if ber is None:
        return False
    witness = _Witness.load(ber, strict=True)
    named = [part.native for part in witness["body_parts"]]
    # 0 is this PKIData itself (RFC 5272 3.2.2): there is no nested one
    if witness["pki_data"].native != 0 or named != [body_part]:
        raise Malformed("cmc.control", "the RA POP Witness is not for this message's request")
    return True


def _signer(sid: Any) -> SignerIdentifier:
    if sid.name == "subject_key_identifier":
        return SignerIdentifier(None, sid.chosen.native)
    chosen = sid.chosen
    return SignerIdentifier((chosen["issuer"].dump(), chosen["serial_number"].native), None)
