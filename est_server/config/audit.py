"""The section ``audit`` of server.yaml."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import Field, model_validator

from est_server.config.certificates import read_certificates
from est_server.config.crl import between
from est_server.errors import Problem
from est_server.ports.scalars import Duration, Strict
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.config.document import Document
    from est_server.config.files import Files
    from est_server.config.server import ServerModel

_File = Annotated[str, Field(min_length=1)]
_Every = Annotated[Duration, between(timedelta(seconds=1), timedelta(hours=1))]
_Anchored = Annotated[Duration, between(timedelta(seconds=10), timedelta(days=31))]


class Timestamp(Strict):
    """A time-stamping authority (RFC 3161)."""

    url: str = Field(
        pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$", max_length=256, description="asked over HTTP"
    )
    roots: _File = Field(description="PEM file of the roots that its certificate leads to")


class Anchor(Strict):
    """Where checkpoints go that this machine can't take back."""

    file: _File | None = Field(
        default=None, description="appended to; on another machine's disk, or one that only grows"
    )
    syslog: str | None = Field(
        default=None,
        pattern=r"^(unix:/.+|udp:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5})$",
        description="RFC 5424 messages: unix:/dev/log or udp:HOST:PORT",
    )
    timestamp: Timestamp | None = Field(
        default=None, description="a time-stamp over each, kept in the ledger and exported"
    )
    every: _Anchored = Field(
        default=timedelta(hours=1), description="from one anchored checkpoint to the next"
    )

    @model_validator(mode="after")
    def _somewhere(self) -> Anchor:
        if self.file is None and self.syslog is None and self.timestamp is None:
            raise ValueError("names no place: file, syslog or timestamp")
        return self


class Audit(Strict):
    """The audit log: who signs it, and where its checkpoints are written down elsewhere."""

    origin: str = Field(
        default="est-server/audit",
        pattern=r"^[!-*,-~]{1,200}$",
        description="the log's name in its checkpoints; never another one for the same ledger",
    )
    key: Secret = Field(
        default=Secret("file", "keys/audit.key"),
        description="Ed25519 in PKCS #8, encrypted; it signs checkpoints and nothing else",
    )
    passphrase: Secret = Field(
        default=Secret("file", "secrets/audit.pass"), description="of the key"
    )
    former_keys: tuple[_File, ...] = Field(
        default=(), description="PEM public keys that signed before this one"
    )
    every: _Every = Field(
        default=timedelta(seconds=10),
        description="how long what was done waits for its place and a checkpoint",
    )
    anchor: Anchor | None = Field(
        default=None,
        description="absent: who has this machine and the key can write another history",
    )


def check_audit(files: Files, document: Document, server: ServerModel) -> None:
    """Note files of the section that can't be read or are something else."""
    audit = server.audit
    if audit is None:
        return
    for index, name in enumerate(audit.former_keys):
        at = document.value("audit", "former_keys", index)
        lead = f"audit.former_keys.{index}: "
        data = files.read(files.folder / name, at, lead)
        if data is not None and public_key(data) is None:
            files.error(at, "E290", f"{lead}{name} is no PEM file of an Ed25519 public key")
    if audit.anchor is not None and (stamps := audit.anchor.timestamp) is not None:
        if find_spec("rfc3161_client") is None:
            at = document.value("audit", "anchor", "timestamp", "url")
            text = "audit.anchor.timestamp: time-stamps need rfc3161-client"
            files.error(at, "E209", text, "pip install 'est-server[timestamp]'")
        at = document.value("audit", "anchor", "timestamp", "roots")
        path = files.folder / stamps.roots
        data = files.read(path, at, "audit.anchor.timestamp.roots: ")
        if data is not None:
            _, problems = read_certificates(data, str(path))
            files.extend(problems)


def lint_audit(document: Document, server: ServerModel) -> Iterator[Problem]:
    """Yield warnings about the section."""
    audit = server.audit
    if audit is None or audit.anchor is None:
        return
    if audit.anchor.every < audit.every:
        at = document.value("audit", "anchor", "every")
        text = "audit.anchor.every: shorter than audit.every: there is nothing new to anchor"
        yield Problem(at, "W290", text, "make it longer", severity="warning")


def public_key(pem: bytes) -> Ed25519PublicKey | None:
    """Return the key in a PEM file; None for anything else."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None
