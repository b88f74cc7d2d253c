"""HTTP/1.1 as octets: requests that can be wrong on purpose, responses as they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LARGEST = 1 << 20
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Response:
    """One final response.

    Attributes:
        version: as in the status line, such as ``HTTP/1.1``.
        status: the code.
        fields: header fields in their order, names as sent.
        body: after any chunked coding.
        head: status line and fields as received.
        chunked: whether the body came in chunks.
        first: octets of head and body that came in the first TLS record.
        informational: the 1xx codes before it.
    """

    version: str
    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    head: bytes
    chunked: bool
    first: int
    informational: tuple[int, ...]

    def all(self, name: str) -> list[str]:
        """Return the values of a field, in order."""
        return [value for found, value in self.fields if found.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """Return the first value of a field."""
        return next(iter(self.all(name)), None)

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case."""
        return (self.get("Content-Type") or "").partition(";")[0].strip().lower()


def request(
    method: str,
    target: str,
    host: str,
    fields: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    *,
    chunked: bool = False,
) -> bytes:
    """Return the octets of a request; a length or chunks are written for a body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif body is not None:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines).encode("latin-1") + _END
    if body is None:
        return head
    return head + (_chunks(body) if chunked else body)


def _chunks(body: bytes, size: int = 100) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def read_response(
    method: str, buffered: bytes, receive: Callable[[], bytes]
) -> tuple[Response, bytes]:
    """Return the next final response and what was received beyond it.

    Args:
        method: of the request.
        buffered: what was received before.
        receive: returns further octets, none at the end.

    Raises:
        ValueError: the connection ended early, or this is not HTTP.
    """
    informational: list[int] = []
    data, first = buffered, len(buffered)
    while True:
        while _END not in data:
            data += _more(receive)
            first = first or len(data)
            if len(data) > _LARGEST:
                raise ValueError("the header block does not end")
        head, _, data = data.partition(_END)
        version, status, fields = _head(head)
        if status >= 200 or status == 101:
            break
        informational.append(status)
        first = len(data)
    names = {name.lower(): value for name, value in fields}
    chunked = names.get("transfer-encoding", "").lower().endswith("chunked")
    if method == "HEAD" or status in {204, 304}:
        body, rest = b"", data
    elif chunked:
        body, rest = _dechunk(data, receive)
    elif "content-length" in names:
        length = _length(names["content-length"])
        while len(data) < length:
            data += _more(receive)
        body, rest = data[:length], data[length:]
    else:
        while (piece := receive()) and len(data) < _LARGEST:
            data += piece
        body, rest = data, b""
    found = Response(
        version, status, fields, body, head + _END, chunked, first, tuple(informational)
    )
    return found, rest


def _head(head: bytes) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    line, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = line.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/") or not code.isdecimal():
        raise ValueError(f"not an HTTP status line: {line[:80]!r}")
    pairs = (found.partition(":") for found in lines)
    return version, int(code), tuple((name, value.strip()) for name, _, value in pairs)


def _length(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 8:
        raise ValueError(f"not a Content-Length: {text[:40]!r}")
    return int(text)


def _dechunk(data: bytes, receive: Callable[[], bytes]) -> tuple[bytes, bytes]:
    body = b""
    while True:
        while b"\r\n" not in data:
            data += _more(receive)
        line, _, data = data.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        while len(data) < size + 2:
            data += _more(receive)
        body, data = body + data[:size], data[size + 2 :]
        if size == 0 or len(body) > _LARGEST:
            return body, data


def _more(receive: Callable[[], bytes]) -> bytes:
    data = receive()
    if not data:
        raise ValueError("the server closed the connection before its answer was complete")
    return data
