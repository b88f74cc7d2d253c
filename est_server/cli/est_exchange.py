"""One question of the client's to an EST server, and what its answer means (RFC 7030 3.2, 4)."""

from __future__ import annotations

import base64
import binascii
import http.client
import ssl
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from est_server.errors import (
    BackendUnavailable,
    Denied,
    EstServerError,
    Malformed,
    NotFound,
    Pending,
    Unauthenticated,
)

_TIMEOUT = 60.0
_LONGEST_ANSWER = 1 << 20
_WELL_KNOWN = "/.well-known/est"
CERTIFICATES = "application/pkcs7-mime"
ATTRIBUTES = "application/csrattrs"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one server's EST resources are."""

    host: str
    port: int
    path: str


def target(url: str, label: str | None) -> Target:
    """Return what ``https://host:8443`` means, with or without the well-known path.

    Raises:
        Malformed: ``client.url``.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError:
        port = 0
    if parts.scheme != "https" or not parts.hostname or not port or parts.query or parts.fragment:
        raise Malformed("client.url", f"{url!r} is no URL like https://est.example.net:8443")
    path = parts.path.rstrip("/")
    if not path:
        path = _WELL_KNOWN
    elif not path.startswith(_WELL_KNOWN):
        raise Malformed("client.url", f"{path} does not begin with {_WELL_KNOWN} (RFC 7030 3.2.2)")
    if label is not None:
        path = f"{path}/{quote(label, safe='')}"
    return Target(parts.hostname, port, path)


def exchange(
    where: Target,
    context: ssl.SSLContext,
    method: str,
    operation: str,
    body: bytes | None,
    headers: dict[str, str],
    media_type: str,
) -> bytes:
    """Return the DER of an answer; empty for 204."""
    answer = ask(where, context, method, operation, body, headers)
    if not answer.content:
        if media_type == ATTRIBUTES:
            return b""
        raise Malformed("remote.empty", f"{operation} has an empty answer")
    found = answer.content_type.partition(";")[0].strip().lower()
    if found != media_type:
        raise Malformed("remote.media-type", f"{operation} answers {found}, not {media_type}")
    try:
        return base64.b64decode(answer.content.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise Malformed("remote.base64", f"{operation} does not answer base64") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, and the certificate that its TLS showed."""

    content_type: str
    content: bytes = field(repr=False)
    server_certificate: bytes


def ask(
    where: Target,
    context: ssl.SSLContext,
    method: str,
    operation: str,
    body: bytes | None,
    headers: dict[str, str],
) -> Answer:
    """Return an answer with status 200 or 204."""
    connection = http.client.HTTPSConnection(
        where.host, where.port, timeout=_TIMEOUT, context=context
    )
    try:
        connection.request(method, f"{where.path}/{operation}", body, headers)
        answer = connection.getresponse()
        shown = connection.sock.getpeercert(binary_form=True) if connection.sock else None
        content = answer.read(_LONGEST_ANSWER + 1)
    except ssl.SSLCertVerificationError as error:
        raise BackendUnavailable(
            "remote.untrusted",
            f"{where.host}:{where.port} is not trusted: {error.verify_message}",
            hint="give the right --root, and a --url with a name that its certificate has",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        text = f"{where.host}:{where.port} can't be asked: {error or type(error).__name__}"
        raise BackendUnavailable("remote.unreachable", text) from error
    finally:
        connection.close()
    if answer.status not in {200, 204}:
        raise _refusal(answer.status, content, answer.headers.get("Retry-After"))
    if len(content) > _LONGEST_ANSWER:
        raise Malformed(
            "remote.too-large", f"{operation} answers more than {_LONGEST_ANSWER} octets"
        )
    kind = answer.headers.get("Content-Type", "")
    return Answer(kind, b"" if answer.status == 204 else content, shown or b"")


def _refusal(status: int, content: bytes, retry_after: str | None) -> EstServerError:
    """Return the server's refusal, in its own words where it has some."""
    said = content[:500].decode("utf-8", "replace").strip() or "no reason was given"
    said = f"{status}: {''.join(mark if mark.isprintable() else ' ' for mark in said)}"
    seconds = int(retry_after) if retry_after and retry_after.isdecimal() else 60
    match status:
        case 202:
            text = f"not decided yet; ask again in {seconds} seconds, with the same key"
            return Pending("remote.pending", text, retry_after=seconds)
        case 401:
            return Unauthenticated("remote.unauthenticated", said)
        case 404:
            return NotFound("remote.not-found", said, hint="check --label")
        case 429:
            return BackendUnavailable("remote.busy", said, retry_after=seconds)
    if status >= 500:
        return BackendUnavailable("remote.failed", said, retry_after=seconds)
    return Denied("remote.refused", said)
