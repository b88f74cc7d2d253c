"""Somebody who asks a running server, over raw connections of the conformance kit."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)
from est_process import EstServer

from interop.conformance.asking import base64, certification_request, common_name, new_key
from interop.conformance.connection import Connection, Endpoint, Identity
from interop.conformance.http import Response, request

PKCS10 = ("Content-Type", "application/pkcs10")


@dataclass(frozen=True, slots=True)
class Asker:
    """One who asks a running server: over which TLS, with which certificate and credential.

    `with_(version="1.2")` and the like return another.
    """

    server: EstServer
    folder: Path
    version: Any = None
    identity: Identity | None = None
    credential: tuple[str, str] | None = None
    label: str | None = None
    source: str | None = None

    def with_(self, **changes: Any) -> Asker:
        return Asker(**{**{name: getattr(self, name) for name in self.__slots__}, **changes})

    def connect(self, session: Any = None) -> Connection:
        host, _, port = self.server.est.rpartition(":")
        endpoint = Endpoint(host, int(port), self.server.root, source=self.source)
        return endpoint.connect(self.version, self.identity, session)

    def target(self, operation: str) -> str:
        label = "" if self.label is None else f"{self.label}/"
        return f"/.well-known/est/{label}{operation}"

    def octets(self, operation: str, body: bytes | None = None, *fields: tuple[str, str],
               method: str | None = None, chunked: bool = False) -> bytes:  # fmt: skip
        """Return a request; a POST of PKCS #10 with the credential if there is a body."""
        basic = (
            () if self.credential is None or body is None else (authorization(*self.credential),)
        )
        kind = () if body is None or any(n == "Content-Type" for n, _ in fields) else (PKCS10,)
        return request(
            method or ("GET" if body is None else "POST"),
            self.target(operation),
            self.server.est,
            (*basic, *kind, *fields),
            body,
            chunked=chunked,
        )

    def ask(self, operation: str, body: bytes | None = None, *fields: tuple[str, str],
            on: Connection | None = None, **how: Any) -> Response:  # fmt: skip
        """Send one request, on a connection of its own unless one is given."""
        method = how.get("method") or ("GET" if body is None else "POST")
        octets = self.octets(operation, body, *fields, **how)
        if on is not None:
            on.send(octets)
            return on.response(method)
        with self.connect() as connection:
            connection.send(octets)
            return connection.response(method)

    def enroll(self, operation: str = "simpleenroll", **how: Any) -> tuple[x509.Certificate, Any]:
        """Return a new certificate and its key; `csr`, `key` and `name` are what to ask for."""
        key = how.get("key") or new_key()
        name = how.get("name") or f"device-{secrets.token_hex(6)}"
        csr = how.get("csr") or certification_request(key, common_name(name))
        answer = self.ask(operation, base64(csr), on=how.get("on"))
        assert answer.status == 200, (answer.status, answer.body)
        return issued(answer), key

    def enrolled(self, **how: Any) -> Asker:
        """Return the same asker with a certificate from simpleenroll and without a credential."""
        certificate, key = self.enroll(**how)
        return self.with_(identity=self.keep(certificate, key), credential=None)

    def keep(self, certificate: x509.Certificate, key: Any) -> Identity:
        """Write a certificate and its key to files."""
        stem = self.folder / secrets.token_hex(8)
        found = Identity(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        found.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return found


def authorization(user: str, password: str) -> tuple[str, str]:
    return "Authorization", f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def issued(answer: Response) -> x509.Certificate:
    """Return the one certificate of an enroll answer."""
    (certificate,) = certificates(answer)
    return certificate


def certificates(answer: Response) -> list[x509.Certificate]:
    return pkcs7.load_der_pkcs7_certificates(b64decode(answer.body))
