"""OCSP requests that were answered before, known by their octets, and their ready answers.

A relying party asks for the same certificate in the same octets again and again: the path of a GET
or the body of a POST. Such a request is answered from memory under the conditions of
`est_server.revocation.ocsp_memory`; as soon as one is not met the service is asked, which asks the
ledger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from est_server.web import metrics
from est_server.web.http import LONGEST_LINE, MOST_HEADERS
from est_server.web.ocsp import MEDIA_TYPE, PATH, header_fields, request_in_path
from est_server.wire.der import SEQUENCE
from est_server.wire.ocsp import MOST_OCTETS

if TYPE_CHECKING:
    from est_server.revocation.ocsp_memory import Lease, OcspAnswer, Slot
    from est_server.web.ocsp import OcspEndpoint

MOST_KNOWN = 50_000
"""Requests that are known; there are some ways to ask about one certificate."""
LONGEST_KNOWN = 1024
"""Octets of a request, or of its header fields, that are remembered."""
MOST_HEADS = 512
"""Sets of header fields that are known: few programs ask, each with its own."""

INCOMPLETE, NOT_PLAIN = -1, -2
_GET = b"GET " + PATH.encode() + b"/"
_POSTS = (b"POST " + PATH.encode() + b" HTTP/1.1", b"POST " + PATH.encode() + b"/ HTTP/1.1")
_VERSION = b" HTTP/1.1"
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~]*)")
_CHANGES_THE_ANSWER = frozenset(
    b"connection expect if-match if-modified-since if-none-match if-range if-unmodified-since "
    b"keep-alive range te trailer transfer-encoding upgrade".split()
)


@dataclass(slots=True, eq=False)
class Known:
    """A request's answer, ready to be sent within one second.

    Attributes:
        slot: where the answer is kept; its answer is None once it is wrong.
        answer: what `octets` say.
        octets: header and body.
        second: since 1970; Date and max-age say it.
    """

    slot: Slot
    answer: OcspAnswer | None = None
    octets: bytes = b""
    second: int = 0


@dataclass(slots=True)
class KnownRequests:
    """The requests of one listener.

    Attributes:
        endpoint: answers what is not known.
        lease: whether memory may be believed.
        known: by a GET's path or a POST's body; a path begins with a slash, a body never does.
        sent: by all of the request's octets: the same program sends the same.
        heads: what `plain_body_length` said of header fields.
        served: how many answers came from memory since `count`, by outcome.
    """

    endpoint: OcspEndpoint
    lease: Lease
    known: dict[bytes, Known] = field(default_factory=dict)
    sent: dict[bytes, Known] = field(default_factory=dict)
    heads: dict[bytes, int | None] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)

    def find(self, asked: bytes) -> bytes | None:
        """Return the ready answer to a request, or None if it may not be given from memory."""
        known = self.known.get(asked)
        return None if known is None else self._ready(known)

    def again(self, sent: bytes) -> bytes | None:
        """Return the ready answer to octets that were sent before, header fields and all."""
        known = self.sent.get(sent)
        return None if known is None else self._ready(known)

    def remember(self, sent: bytes, asked: bytes) -> None:
        """Know whole octets of a request that `find` has just answered."""
        if len(sent) <= LONGEST_KNOWN:
            if len(self.sent) >= MOST_KNOWN:
                del self.sent[next(iter(self.sent))]
            self.sent[sent] = self.known[asked]

    def _ready(self, known: Known) -> bytes | None:
        lease = self.lease
        now = lease.time_of_day()
        slot = known.slot
        answer = slot.answer
        if answer is None or now >= slot.good_until or not lease.trusted_at(now):
            return None
        if known.answer is not answer or known.second != int(now):
            known.answer, known.second = answer, int(now)
            known.octets = octets(answer, datetime.fromtimestamp(known.second, UTC))
        slot.asked = True
        self.served[answer.outcome] = self.served.get(answer.outcome, 0) + 1
        return known.octets

    async def ask(self, asked: bytes, *, get: bool) -> bytes:
        """Return the answer to a request that is not known, and know it from now on.

        Args:
            asked: the octets that it is known by.
            get: whether they are the path of a GET.
        """
        request = request_in_path(asked.decode("ascii")) if get else asked
        answer, slot = await self.endpoint.answer(request)
        metrics.OCSP_RESPONSES.labels(answer.outcome).inc()
        if slot is not None and slot.answer is answer and len(asked) <= LONGEST_KNOWN:
            if len(self.known) >= MOST_KNOWN:
                del self.known[next(iter(self.known))]
            self.known[asked] = Known(slot)
        return octets(answer, self.endpoint.clock())

    def count(self) -> None:
        """Add what was served from memory to the metrics."""
        for outcome, number in self.served.items():
            metrics.OCSP_RESPONSES.labels(outcome).inc(number)
            metrics.OCSP_FAST.inc(number)
        self.served.clear()

    def request_at(self, buffer: bytes, at: int) -> tuple[bytes, bool, int]:
        """Return what is asked at `at`, whether by GET, and where the next request begins.

        In the place of the latter stands `INCOMPLETE`, or `NOT_PLAIN` for aiohttp to look at.
        """
        end = buffer.find(b"\r\n\r\n", at)
        if end < 0:
            return b"", False, NOT_PLAIN if len(buffer) - at > LONGEST_LINE else INCOMPLETE
        line, _, head = buffer[at:end].partition(b"\r\n")
        length, begin = self._body_length(head), end + 4
        if line.startswith(_GET) and line.endswith(_VERSION) and length == 0:
            return line[4 : -len(_VERSION)], True, begin
        if line not in _POSTS or not length or length > MOST_OCTETS:
            return b"", False, NOT_PLAIN
        asked = buffer[begin : begin + length]
        if len(asked) < length:
            return b"", False, INCOMPLETE
        # no body is taken for a path
        return asked, False, begin + length if asked[0] == SEQUENCE else NOT_PLAIN

    def _body_length(self, head: bytes) -> int | None:
        try:
            return self.heads[head]
        except KeyError:
            length = plain_body_length(head)
            if len(self.heads) >= MOST_HEADS:
                self.heads.clear()
            if len(head) <= LONGEST_KNOWN:
                self.heads[head] = length
            return length


def octets(answer: OcspAnswer, now: datetime) -> bytes:
    """Return a whole HTTP response.

    Args:
        answer: to be sent.
        now: the time.
    """
    fields = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(answer.der)),
        **header_fields(answer, now),
    }
    lines = "\r\n".join(f"{name}: {value}" for name, value in fields.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n\r\n".encode("ascii") + answer.der


def plain_body_length(head: bytes) -> int | None:
    """Return the Content-Length, 0 without one, of header fields that leave no question.

    Args:
        head: the fields, without the empty line.

    Returns:
        None if anything is there that aiohttp had better look at: another form, a second Host or
        Content-Length, a field that could change the answer or the connection.
    """
    length, hosts, seen = 0, 0, False
    lines = head.split(b"\r\n")
    if len(lines) > MOST_HEADERS:
        return None
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None or len(line) > LONGEST_LINE:
            return None
        name, value = match[1].lower(), match[2].strip()
        if name == b"content-length":
            if seen or not value.isdigit() or len(value) > 6:
                return None
            seen, length = True, int(value)
        elif name == b"host":
            hosts += 1
        elif name in _CHANGES_THE_ANSWER and not (
            name == b"connection" and value.lower() == b"keep-alive"
        ):
            return None
    return length if hosts == 1 else None
