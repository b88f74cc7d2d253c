"""Nonces for evidence, as JSON (draft-ietf-lamps-attestation-freshness, version 07).

    request   {"len": 8..64, "reqTypeInfo": {"type": OID, "reqInfo": any}}, both optional
    response  {"nonce": base64url without padding, or "", "expiry": seconds,
               "respTypeInfo": {"type": OID, "respInfo": any}}

Members that are not known are left alone, as JSON's users expect; a member twice is refused, since
readers differ about which one counts.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from est_server.errors import Malformed
from est_server.wire.strict_json import read_json

MEDIA_TYPE = "application/est-attestation-freshness+json"
SHORTEST, LONGEST = 8, 64
DEFAULT_LENGTH = 32
MOST_OCTETS = 16384
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,38})){1,30}")  # 39 digits: a UUID (X.667)


@dataclass(frozen=True, slots=True)
class NonceRequest:
    """What a device asks for.

    Attributes:
        length: octets of the nonce.
        statement_type: the OID of the statement that will hold it; None if it wasn't told.
        info: ``reqInfo``, whatever JSON it is; None without.
    """

    length: int = DEFAULT_LENGTH
    statement_type: str | None = None
    info: Any = None


def read_nonce_request(body: bytes) -> NonceRequest:
    """Read the body of a POST.

    Raises:
        Malformed: ``nonce.request``; the draft wants 400 with an empty body for all of it.
    """
    if len(body) > MOST_OCTETS:
        raise _malformed(f"more than {MOST_OCTETS} octets")
    try:
        content = read_json(body)
    except ValueError as error:
        raise _malformed("this is not JSON") from error
    if not isinstance(content, dict):
        raise _malformed("an object is expected")
    length = content.get("len", DEFAULT_LENGTH)
    if type(length) is not int or not SHORTEST <= length <= LONGEST:
        raise _malformed(f"len is a whole number from {SHORTEST} to {LONGEST}")
    if "reqTypeInfo" not in content:
        return NonceRequest(length)
    wanted = content["reqTypeInfo"]
    if not isinstance(wanted, dict):
        raise _malformed("reqTypeInfo is an object")
    kind = wanted.get("type")
    if not isinstance(kind, str) or not _OID.fullmatch(kind):
        raise _malformed("reqTypeInfo.type is a dotted object identifier")
    return NonceRequest(length, kind, wanted.get("reqInfo"))


def nonce_response(
    nonce: bytes, expiry: int, statement_type: str | None = None, info: Any = None
) -> bytes:
    """Return the body of the answer.

    Args:
        nonce: empty if the device learns it from `info` alone.
        expiry: seconds for which it is good.
        statement_type: what `info` is about.
        info: ``respInfo``; None for none.
    """
    content: dict[str, Any] = {
        "nonce": urlsafe_b64encode(nonce).rstrip(b"=").decode(),
        "expiry": expiry,
    }
    if info is not None:
        content["respTypeInfo"] = {"type": statement_type, "respInfo": info}
    return json.dumps(content, separators=(",", ":")).encode()


def _malformed(message: str) -> Malformed:
    return Malformed("nonce.request", message)
