"""The server under test: how to ask it, with what, and what was exchanged."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from interop.conformance.asking import (
    alternative_names,
    base64,
    certification_request,
    common_name,
    new_key,
)
from interop.conformance.case import Failed, skip
from interop.conformance.cms import certificates_in
from interop.conformance.connection import (
    Connection,
    Endpoint,
    Exchange,
    Identity,
    Session,
    Version,
)
from interop.conformance.http import Response, request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WELL_KNOWN = "/.well-known/est"
PKCS10 = ("Content-Type", "application/pkcs10")
Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What the person who runs the kit says about the server.

    Attributes:
        endpoint: where it is.
        label: a CA label that it serves.
        user: user name and password that may enroll any number of times.
        identity: a client certificate that may enroll.
        subject: of the requests; None: a new common name for each.
        dns: a DNS name that may be asked for.
        key_type: ``ec`` or ``rsa``.
        patience: seconds that a slow body is waited for.
        folder: for keys and certificates of this run.
    """

    endpoint: Endpoint
    folder: Path
    label: str | None = None
    user: tuple[str, str] | None = field(default=None, repr=False)
    identity: Identity | None = None
    subject: x509.Name | None = None
    dns: str | None = None
    key_type: str = "ec"
    patience: float = 45.0


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A certificate that the server issued to the kit."""

    certificate: x509.Certificate
    key: Any
    identity: Identity


class Target:
    """The server over one TLS version.

    Attributes:
        options: what is known of it.
        version: the TLS version of every connection.
        exchanges: what was sent and received since `forget`, by connection.
    """

    def __init__(self, options: Options, version: Version) -> None:
        self.options = options
        self.version = version
        self.exchanges: list[Exchange] = []
        self._enrolled: Enrolled | None = None

    def forget(self) -> None:
        """Begin a new case."""
        self.exchanges = []

    @property
    def host(self) -> str:
        """The Host field's value."""
        endpoint = self.options.endpoint
        return f"{endpoint.host}:{endpoint.port}"

    def path(self, operation: str, *, label: str | None = None, bare: bool = False) -> str:
        """Return an operation's path: under the given label, else the one to test, or bare."""
        label = label or (None if bare else self.options.label)
        return (
            f"{WELL_KNOWN}/{operation}"
            if not label
            else f"{WELL_KNOWN}/{_quoted(label)}/{operation}"
        )

    def connect(
        self,
        identity: Identity | None = None,
        session: Session | None = None,
        version: Version | None = None,
    ) -> Connection:
        """Return a new connection; its exchange is kept."""
        connection = self.options.endpoint.connect(version or self.version, identity, session)
        self.exchanges.append(connection.exchange)
        return connection

    def send(
        self,
        method: str,
        path: str,
        fields: Fields = (),
        body: bytes | None = None,
        *,
        on: Connection | None = None,
        identity: Identity | None = None,
        chunked: bool = False,
    ) -> Response:
        """Send one request, on a connection of its own unless one is given."""
        octets = request(method, path, self.host, fields, body, chunked=chunked)
        if on is not None:
            on.send(octets)
            return on.response(method)
        with self.connect(identity) as connection:
            connection.send(octets)
            return connection.response(method)

    def get(
        self, operation: str, *fields: tuple[str, str], on: Connection | None = None
    ) -> Response:
        """GET an operation without authentication."""
        return self.send("GET", self.path(operation), fields, on=on)

    @property
    def authorization(self) -> Fields:
        """HTTP Basic with the credential that may enroll, if there is one."""
        return () if self.options.user is None else (basic(*self.options.user),)

    def require_enrollment(self) -> None:
        """Skip the case if nothing was given to enroll with."""
        if self.options.user is None and self.options.identity is None:
            skip("needs --user, or --cert and --key, to enroll")

    def connect_to_enroll(
        self, session: Session | None = None, version: Version | None = None
    ) -> Connection:
        """Return a connection as somebody who may enroll."""
        self.require_enrollment()
        return self.connect(self.options.identity, session, version)

    def post(
        self,
        body: bytes,
        *fields: tuple[str, str],
        on: Connection | None = None,
        operation: str = "simpleenroll",
        chunked: bool = False,
    ) -> Response:
        """POST a request to simpleenroll, as somebody who may enroll."""
        self.require_enrollment()
        kind = () if any(name == "Content-Type" for name, _ in fields) else (PKCS10,)
        return self.send(
            "POST",
            self.path(operation),
            (*self.authorization, *kind, *fields),
            body,
            on=on,
            identity=self.options.identity,
            chunked=chunked,
        )

    def key(self) -> Any:
        """Return a new key of the kind that the server takes."""
        return new_key(self.options.key_type)

    def subject(self) -> x509.Name:
        """Return a subject to ask for."""
        return self.options.subject or common_name(f"conformance-{secrets.token_hex(6)}")

    def csr(self, *attributes: bytes, key: Any = None, subject: x509.Name | None = None) -> bytes:
        """Return the DER of a request that the server should grant."""
        return certification_request(key or self.key(), subject or self.subject(), attributes)

    def require_issued(self, answer: Response) -> x509.Certificate:
        """Return the certificate of an enroll answer.

        Raises:
            Failed: it is not a 200 with a certificate.
            NotApplicable: it is a 202.
        """
        if answer.status == 202:
            skip("the server answers 202: let it approve by itself for this test")
        if answer.status != 200:
            raise Failed(f"status {answer.status} in place of 200: {shown(answer.body)}")
        found = certificates_in(decoded(answer))
        if not found:
            raise Failed("the answer has no certificate")
        return found[0]

    def enrolled(self) -> Enrolled:
        """Return a certificate that this server issued to the kit; asked for once a run."""
        if self._enrolled is None:
            key = self.key()
            names = [x509.DNSName(self.options.dns)] if self.options.dns else []
            attributes = (alternative_names(*names),) if names else ()
            csr = self.csr(*attributes, key=key)
            try:
                certificate = self.require_issued(self.post(base64(csr)))
            except Failed as error:
                skip(f"the server did not enroll the kit: {error}")
            self._enrolled = Enrolled(certificate, key, self.keep(certificate, key))
        return self._enrolled

    def keep(self, certificate: x509.Certificate, key: Any) -> Identity:
        """Write a certificate and its key to files for TLS."""
        stem = self.options.folder / secrets.token_hex(8)
        found = Identity(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        found.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        found.key.touch(0o600)
        found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return found

    def renewal(self, key: Any) -> bytes:
        """Return the DER of a request for what the kit's own certificate certifies."""
        own = self.enrolled().certificate
        names = alternative_names_of(own)
        attributes = (alternative_names(*names),) if names else ()
        return certification_request(key, own.subject, attributes)

    def reenroll(self, key: Any, subject: x509.Name, attributes: Sequence[bytes] = ()) -> Response:
        """POST a request to simplereenroll with the kit's own certificate."""
        body = base64(certification_request(key, subject, attributes))
        identity = self.enrolled().identity
        return self.send("POST", self.path("simplereenroll"), (PKCS10,), body, identity=identity)


def alternative_names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """Return the subjectAltName's names; none without it."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(extension.value)


def basic(user: str, password: str) -> tuple[str, str]:
    """Return an Authorization field (RFC 7617)."""
    return "Authorization", f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def decoded(answer: Response) -> bytes:
    """Return what the base64 of a body stands for.

    Raises:
        Failed: it is not base64.
    """
    try:
        return b64decode(answer.body.translate(None, b" \t\r\n"), validate=True)
    except NotBase64 as error:
        raise Failed(f"the body is not base64: {error}") from error


def shown(octets: bytes, most: int = 120) -> str:
    """Return octets for a message."""
    text = octets[:most].decode("utf-8", "backslashreplace").strip()
    return "".join(mark if mark.isprintable() else " " for mark in text) or "(no body)"


def _quoted(label: str) -> str:
    return quote(label, safe="~!$&'()*+,;:=-._")
