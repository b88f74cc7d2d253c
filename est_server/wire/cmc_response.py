"""Full PKI Responses of CMC (RFC 5272 4.2).

PKIResponse ::= SEQUENCE {
controlSequence  SEQUENCE SIZE(0..MAX) OF TaggedAttribute,
cmsSequence      SEQUENCE SIZE(0..MAX) OF TaggedContentInfo,
otherMsgSequence SEQUENCE SIZE(0..MAX) OF OtherMsg }

CMCStatusInfoV2 ::= SEQUENCE {
cMCStatus    CMCStatus,
bodyList     SEQUENCE SIZE (1..MAX) OF BodyPartReference,
statusString UTF8String OPTIONAL,
otherInfo    CHOICE {
failInfo         CMCFailInfo,
pendInfo         [0] PendInfo,
extendedFailInfo [1] ... } OPTIONAL }

BodyPartReference ::= CHOICE { bodyPartID BodyPartID, bodyPartPath SEQUENCE ... }
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from asn1crypto import core

from est_server.wire.cmc import SENDER_NONCE, TRANSACTION_ID
from est_server.wire.cms_signed import Signer, content_info, sign_content

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography import x509

PKI_RESPONSE = "1.3.6.1.5.5.7.12.3"
RECIPIENT_NONCE = "1.3.6.1.5.5.7.7.7"
STATUS_INFO_V2 = "1.3.6.1.5.5.7.7.25"
THIS_MESSAGE = 0
"""The bodyPartID of the PKIData itself (RFC 5272 3.2.2), for what is not about one request."""

FailInfo = Literal[
    "badAlg",
    "badMessageCheck",
    "badRequest",
    "badCertId",
    "unsupportedExt",
    "badIdentity",
    "popRequired",
    "popFailed",
    "noKeyReuse",
    "internalCAError",
    "tryLater",
]
_FAIL_INFO: Mapping[FailInfo, int] = MappingProxyType(
    {
        "badAlg": 0,
        "badMessageCheck": 1,
        "badRequest": 2,
        "badCertId": 4,
        "unsupportedExt": 5,
        "badIdentity": 7,
        "popRequired": 8,
        "popFailed": 9,
        "noKeyReuse": 10,
        "internalCAError": 11,
        "tryLater": 12,
    }
)
_SUCCESS, _FAILED = 0, 2


@dataclass(frozen=True, slots=True)
class PkiResponse:
    """What a Full PKI Response says.

    Attributes:
        body_part: the request that it is about, or `THIS_MESSAGE`.
        fail_info: why it failed (RFC 5272 6.1.4); None for success.
        text: for people; may be empty.
        transaction_id: the request's.
        recipient_nonce: the request's senderNonce.
        sender_nonce: our own, where the request had one.
    """

    body_part: int
    fail_info: FailInfo | None = None
    text: str = ""
    transaction_id: int | None = None
    recipient_nonce: bytes | None = None
    sender_nonce: bytes | None = None


class _Control(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012 - the library's own form
        ("body_part", core.Integer),
        ("type", core.ObjectIdentifier),
        ("values", core.SetOf, {"spec": core.Any}),
    ]


class _Controls(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _Control


class _Nothing(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.Any


class _PkiResponse(core.Sequence):  # type: ignore[misc]
    _fields = [("controls", _Controls), ("messages", _Nothing), ("others", _Nothing)]  # noqa: RUF012 - the library's own form


class _Integers(core.SequenceOf):  # type: ignore[misc]
    _child_spec = core.Integer


class _StatusInfoV2(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012 - the library's own form
        ("status", core.Integer),
        ("body_list", _Integers),
        ("text", core.UTF8String, {"optional": True}),
        ("fail_info", core.Integer, {"optional": True}),
    ]


def encode_response(
    response: PkiResponse, signer: Signer, issued: Sequence[x509.Certificate] = ()
) -> bytes:
    """Return the DER of a signed Full PKI Response.

    Args:
        response: what it says.
        signer: who answers.
        issued: the certificates that were asked for; they travel in the SignedData.
    """
    status: dict[str, Any] = {
        "status": _SUCCESS if response.fail_info is None else _FAILED,
        "body_list": [response.body_part],
    }
    if response.text:
        status["text"] = response.text
    if response.fail_info is not None:
        status["fail_info"] = _FAIL_INFO[response.fail_info]
    controls: list[tuple[str, core.Asn1Value]] = [(STATUS_INFO_V2, _StatusInfoV2(status))]
    if response.transaction_id is not None:
        controls.append((TRANSACTION_ID, core.Integer(response.transaction_id)))
    if response.sender_nonce is not None:
        controls.append((SENDER_NONCE, core.OctetString(response.sender_nonce)))
    if response.recipient_nonce is not None:
        controls.append((RECIPIENT_NONCE, core.OctetString(response.recipient_nonce)))
    content: bytes = _PkiResponse(
        {
            "controls": [
                {"body_part": number, "type": oid, "values": [core.Any(value)]}
                for number, (oid, value) in enumerate(controls, 1)
            ],
            "messages": [],
            "others": [],
        }
    ).dump()
    answering = replace(signer, above=(*issued, *signer.above))
    return content_info(sign_content(content, PKI_RESPONSE, answering))
