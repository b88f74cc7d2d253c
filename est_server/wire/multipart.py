r"""multipart/mixed as serverkeygen answers it (RFC 2046 5.1, RFC 7030 4.4.2).

    body  = *(delimiter CRLF headers CRLF CRLF content CRLF) "--" boundary "--" CRLF
    delimiter = "--" boundary

Each part carries one object in base64, in lines of 64 characters (RFC 2045 6.8 allows 76), and says
so: libest leaves out a part without Content-Transfer-Encoding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import Malformed
from est_server.wire.est_body import decode_body, encode_body

if TYPE_CHECKING:
    from collections.abc import Sequence

BOUNDARY = "est-server-part"
"""Base64 has no dash, so that no content can look like a boundary."""
LARGEST = 262144
MOST_PARTS = 8
_PARAMETER = re.compile(
    r';[ \t]*boundary=("?)([0-9A-Za-z\'()+_,./:=?-]{1,70})\1[ \t]*(?:;|$)', re.IGNORECASE
)
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its Content-Type as written, and the DER that its base64 holds."""

    content_type: str
    der: bytes


def encode_multipart(parts: Sequence[Part]) -> bytes:
    """Return a body with boundary `BOUNDARY`."""
    lines = []
    for part in parts:
        content = encode_body(part.der, wrap=True).replace(b"\n", b"\r\n")
        lines.append(
            f"--{BOUNDARY}\r\nContent-Type: {part.content_type}\r\n"
            "Content-Transfer-Encoding: base64\r\n\r\n".encode()
            + content
        )
    return b"".join(lines) + f"--{BOUNDARY}--\r\n".encode()


def parse_multipart(content_type: str, body: bytes) -> tuple[Part, ...]:
    """Read a multipart/mixed of base64 parts.

    Args:
        content_type: of the answer, with its boundary.
        body: as received.

    Raises:
        Malformed: ``multipart.type``, ``multipart.too-large``, ``multipart.encoding``,
            ``multipart.too-many``; what `decode_body` raises for a part.
    """
    media, _, _ = content_type.partition(";")
    found = _PARAMETER.search(content_type)
    if media.strip().lower() != "multipart/mixed" or found is None:
        raise Malformed("multipart.type", "this is not multipart/mixed with a boundary")
    if len(body) > LARGEST:
        raise Malformed("multipart.too-large", f"the body has more than {LARGEST} octets")
    delimiter = b"\n--" + found[2].encode()
    _, *pieces = (b"\n" + body.replace(b"\r\n", b"\n")).split(delimiter)
    if not pieces or not pieces[-1].startswith(b"--"):
        raise Malformed("multipart.encoding", "the last boundary is missing")
    if len(pieces) > MOST_PARTS + 1:
        raise Malformed("multipart.too-many", f"more than {MOST_PARTS} parts")
    return tuple(_part(piece) for piece in pieces[:-1])


def _part(piece: bytes) -> Part:
    head, gap, content = piece.partition(b"\n\n")
    if not piece.startswith(b"\n") or not gap:
        raise Malformed("multipart.encoding", "a part has no headers")
    headers: dict[str, str] = {}
    for line in head[1:].split(b"\n"):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise Malformed("multipart.encoding", "a part's header can't be read")
        headers[match[1].decode().lower()] = match[2].decode().strip()
    return Part(headers.get("content-type", ""), decode_body(content, lenient=False).der)
