"""CAs that are reached over HTTPS: one connection pool, explicit trust, capped answers.

What went wrong is told apart by the one question that counts afterwards: may the CA have issued?
It has not where no connection could be made; it may have where the answer is what is missing.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from est_server.errors import BackendUnavailable
from est_server.ports.scalars import Strict
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta
    from pathlib import Path

_LONGEST_ANSWER = 1 << 20


class ClientIdentity(Strict):
    """The certificate with which this server shows itself to the CA."""

    certificate: str = Field(description="PEM chain, its own certificate first")
    key: Secret = Field(description="PEM key of the certificate: file:ca/ra.key")
    passphrase: Secret | None = Field(default=None, description="of the key, if it is encrypted")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        headers: with lower-case names.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> int | None:
        """Whole seconds that the CA asks for (RFC 9110 10.2.3); None if it names a date or none."""
        value = self.headers.get("retry-after", "").strip()
        return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None


class Remote:
    """One CA's HTTP connections.

    Args:
        name: the CA's name in server.yaml, for messages.
        url: where it is, without a slash at the end.
        tls: who it has to be.
        timeout: for one request, connecting and all.
    """

    def __init__(self, name: str, url: str, tls: ssl.SSLContext | bool, timeout: timedelta) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Return the CA's answer, whatever its status.

        Raises:
            BackendUnavailable: ``ca.unreachable`` without a connection, when nothing can have been
                issued; ``ca.no-answer`` when the request may have arrived.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, connector=aiohttp.TCPConnector(ssl=self._tls, limit=64)
            )
        gone = "the request may have arrived and its answer is missing"
        try:
            async with self._session.request(
                method, self.url + path, headers=headers, data=body, allow_redirects=False
            ) as response:
                text = bytearray()
                async for part in response.content.iter_any():
                    text += part
                    if len(text) > _LONGEST_ANSWER:
                        raise self.unavailable("ca.no-answer", "its answer is too long")
                return Answer(
                    response.status,
                    {key.lower(): value for key, value in response.headers.items()},
                    bytes(text),
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self.unavailable(
                "ca.unreachable", f"no connection: {error}", nothing_issued=True
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            detail = f"{gone}: {error or type(error).__name__}"
            raise self.unavailable("ca.no-answer", detail) from error

    def unavailable(
        self, rule: str, detail: str, *, nothing_issued: bool = False, retry_after: int = 60
    ) -> BackendUnavailable:
        """Return the failure; `detail` is for operators only."""
        return BackendUnavailable(
            rule,
            "the CA can't be asked now" if nothing_issued else "the CA has not answered",
            hint=f"CA {self.name} at {self.url}: {detail}",
            retry_after=retry_after,
            nothing_issued=nothing_issued,
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def tls_context(
    name: str,
    base: Path,
    trust: tuple[str, ...],
    identity: ClientIdentity | None = None,
    anchors: Iterable[x509.Certificate] = (),
) -> ssl.SSLContext:
    """Return what a connection to the CA has to show, and what it shows.

    Args:
        name: the CA's name in server.yaml.
        base: the folder of server.yaml.
        trust: PEM files of the anchors; empty means the system's.
        identity: this server's own certificate, if it has one for the CA.
        anchors: further ones, learned.

    Raises:
        BackendUnavailable: ``ca.unusable``: a file is missing or can't be read.
    """
    try:
        context = ssl.create_default_context()
        if trust:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            for path in trust:
                context.load_verify_locations(cadata=(base / path).read_text("ascii"))
        for anchor in anchors:
            context.load_verify_locations(cadata=anchor.public_bytes(Encoding.DER))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if identity is not None:
            secret = identity.passphrase
            key = identity.key.path(base)
            if key is None:
                raise unusable(name, "its key must be a file: `key: file:…`", "check `key`")
            context.load_cert_chain(
                base / identity.certificate,
                key,
                # never a prompt on the terminal
                (lambda: secret.read(base)) if secret is not None else (lambda: b"\0"),
            )
    except (OSError, ValueError, ssl.SSLError) as error:
        raise unusable(name, f"its trust or identity can't be read: {error}", str(error)) from error
    return context


def read_certificates(name: str, path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM file.

    Raises:
        BackendUnavailable: ``ca.unusable``.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise unusable(name, f"{path.name} can't be read", f"check {path}: {error}") from error


def unusable(name: str, message: str, hint: str) -> BackendUnavailable:
    """Return the failure of a CA that can't be opened as it is configured."""
    return BackendUnavailable("ca.unusable", f"CA {name}: {message}", hint=hint)
