"""What an EST request says in its line and header fields."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import unquote

from est_server.enrollment.request import BasicCredentials
from est_server.errors import Malformed, NotFound, Unauthenticated
from est_server.web.http import MethodNotAllowed

if TYPE_CHECKING:
    from aiohttp import web

    from est_server.ports.tls import TlsFacts

_PREFIX = "/.well-known/est/"
METHODS: dict[str, tuple[str, ...]] = {
    "cacerts": ("GET", "HEAD"),
    "csrattrs": ("GET", "HEAD"),
    "simpleenroll": ("POST",),
    "simplereenroll": ("POST",),
    "fullcmc": ("POST",),
    "serverkeygen": ("POST",),
    "nonce": ("GET", "POST"),
}
OPERATIONS = frozenset(METHODS)
LONGEST_LABEL = 128


def route(raw_path: str) -> tuple[str | None, str]:
    """Return (label, operation) of a path as it stood in the request line.

    Raises:
        NotFound: ``operation.unknown``.
    """
    before, found, after = raw_path.partition(_PREFIX)
    segments = after.removesuffix("/").split("/")
    if before:
        segments = [before.removeprefix("/"), *segments]
    operation = segments[-1]
    if not found or len(segments) > 2 or operation not in OPERATIONS:
        raise NotFound("operation.unknown", "there is no such EST operation here")
    if len(segments) == 1:
        return None, operation
    label = unquote(segments[0], errors="replace")
    if not label or len(label) > LONGEST_LABEL:
        raise NotFound("label.unknown", "there is no such label here")
    return label, operation


def require_method(method: str, operation: str) -> None:
    """Refuse a method that the operation does not take.

    Raises:
        MethodNotAllowed: it names the one that it takes.
    """
    if method not in (allowed := METHODS[operation]):
        raise MethodNotAllowed(allowed[0])


def basic_credentials(headers: list[str]) -> BasicCredentials | None:
    """Return user name and password of HTTP Basic (RFC 7617).

    Raises:
        Unauthenticated: ``authentication.header`` if there are two headers, or it can't be read.
    """
    if not headers:
        return None
    scheme, _, encoded = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "basic":
        raise Unauthenticated("authentication.header", "send one Authorization: Basic header")
    try:
        username, colon, password = (
            b64decode(encoded.strip(), validate=True).decode().partition(":")
        )
    except ValueError as error:
        raise Unauthenticated("authentication.header", "the credentials can't be read") from error
    if not colon:
        raise Unauthenticated("authentication.header", "the credentials have no colon")
    if not username and not password:
        return None  # est-client-python sends the header even when it has nothing to say
    return BasicCredentials(username, password)


def connection_facts(request: web.BaseRequest) -> TlsFacts:
    """Return what TLS knows about the request's connection."""
    if request.transport is None:
        raise Malformed("body.incomplete", "the connection is gone")
    facts: TlsFacts = request.transport.get_extra_info("ssl_object").facts()
    return facts
