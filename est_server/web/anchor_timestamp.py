"""RFC 3161 time-stamps over checkpoints: somebody else says that they were there by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from est_server.errors import BackendUnavailable, Malformed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography.x509 import Certificate

    from est_server.ports.anchor import Anchor

_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_SECONDS = 20.0
_MOST_OCTETS = 65536


@dataclass(frozen=True, slots=True)
class AnchorTimestamp:
    """An `Anchor` that gives the authority's answer (RFC 3161 3.4: over HTTP).

    Attributes:
        url: where it is asked.
        roots: that its certificate leads to.
    """

    url: str
    roots: Sequence[Certificate]
    name: str = "timestamp"

    async def write(self, note: str) -> bytes:
        """Ask for a time-stamp and check it; see `Anchor.write`."""
        library = _library()
        request = library.TimestampRequestBuilder().data(note.encode()).nonce(nonce=True).build()
        try:
            answer = await self._ask(request.as_bytes())
            check_timestamp(answer, note, self.roots, request.nonce)
        except (OSError, aiohttp.ClientError, TimeoutError, Malformed) as error:
            raise BackendUnavailable(
                "audit.anchor", "the checkpoint got no time-stamp", hint=f"{self.url}: {error}"
            ) from error
        return answer

    async def _ask(self, request: bytes) -> bytes:
        headers = {"Content-Type": _QUERY, "Accept": _REPLY}
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.post(self.url, data=request, headers=headers, allow_redirects=False) as reply,
        ):
            if reply.status != 200 or reply.content_type != _REPLY:
                raise Malformed("audit.timestamp", f"HTTP {reply.status}, {reply.content_type}")
            answer = await reply.content.read(_MOST_OCTETS + 1)
            while len(answer) <= _MOST_OCTETS and not reply.content.at_eof():
                answer += await reply.content.read(_MOST_OCTETS + 1 - len(answer))
        if len(answer) > _MOST_OCTETS:
            raise Malformed("audit.timestamp", "the answer is too long")
        return answer


def check_timestamp(
    answer: bytes, note: str, roots: Sequence[Certificate], nonce: int | None = None
) -> datetime:
    """Return when a checkpoint was there, as its time-stamp says.

    Args:
        answer: TimeStampResp.
        note: the checkpoint.
        roots: that the authority's certificate leads to.
        nonce: of the request; None where it is not known any more.

    Raises:
        Malformed: ``audit.timestamp``.
    """
    library = _library()
    builder = library.VerifierBuilder(roots=[*roots], nonce=nonce)
    try:
        response = library.decode_timestamp_response(answer)
        builder.build().verify_message(response, note.encode())
        found: datetime = response.tst_info.gen_time
    except (library.VerificationError, ValueError) as error:
        raise Malformed("audit.timestamp", f"the time-stamp can't be believed: {error}") from error
    return found


def _library() -> Any:
    """Return rfc3161-client, which is an extra.

    Raises:
        BackendUnavailable: ``audit.extra``.
    """
    try:
        import rfc3161_client  # noqa: PLC0415 - loaded when it is used
    except ImportError as error:
        raise BackendUnavailable(
            "audit.extra",
            "time-stamps need a library that is not installed",
            hint="pip install 'est-server[timestamp]'",
        ) from error
    return rfc3161_client


_: type[Anchor] = AnchorTimestamp
