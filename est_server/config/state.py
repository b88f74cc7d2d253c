"""The section of server.yaml about state."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from est_server.ports.scalars import Strict
from est_server.ports.secret import Secret

_SQLITE = "sqlite:///"
_POSTGRES = "postgresql"
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


def _ledger(value: Any) -> Any:
    """Refuse what is no URL of a ledger; the text repeats nothing that may be a password."""
    if isinstance(value, str) and value.startswith(_SQLITE) and len(value) > len(_SQLITE):
        return value
    try:
        url = urlsplit(value if isinstance(value, str) else "")
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme != _POSTGRES or port == 0 or len(url.path) < len("/x") or url.fragment:
        raise ValueError("not sqlite:///FILE or postgresql://USER@HOST/DATABASE")
    if url.password is not None:
        raise ValueError("no password in the URL: name it in state.postgres.password")
    if not parse_qs(url.query).keys() <= {"host", "port"}:
        raise ValueError("no parameters in the URL but host and port: the rest is state.postgres")
    return value


def _without_password(value: str) -> str:
    if "@" in value:
        raise ValueError("no user and no password here: ephemeral_password names where it is")
    return value


LedgerUrl = Annotated[
    str,
    BeforeValidator(_ledger),
    WithJsonSchema(
        {
            "type": "string",
            "examples": [
                "sqlite:///state/ledger.db",
                "postgresql://est@db.example.net/est",
                "postgresql://est@/est?host=/run/postgresql",
            ],
        }
    ),
]
"""A file, or a database."""


class Postgres(Strict):
    """How a PostgreSQL server is reached; for `ledger: postgresql://…` alone."""

    password: Secret | None = Field(
        default=None, description="the user's, by reference; none where the server asks for none"
    )
    tls: bool = Field(
        default=True,
        description="the server shows a certificate for its host name; a Unix socket needs none",
    )
    trust: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="PEM file of what that certificate leads to; else the system's"
    )
    connections: int = Field(
        default=8, ge=2, le=100, description="most connections of each server process"
    )


class State(Strict):
    """Where state is kept, by URL."""

    ledger: LedgerUrl = Field(
        default="sqlite:///state/ledger.db",
        description="what may never be lost: sqlite:///FILE or postgresql://USER@HOST/DATABASE",
    )
    postgres: Postgres = Field(
        default_factory=Postgres, description="how a PostgreSQL server is reached"
    )
    ephemeral: Annotated[str, AfterValidator(_without_password)] = Field(
        default="memory:",
        pattern=r"^(memory:|rediss?://[^/]+(/[0-9]+)?|unix:///.+)$",
        description="what may be lost, counts of failed attempts and wake-ups: memory: for each "
        "process its own, or one Redis for all: redis://HOST:PORT/0, rediss:// with TLS, "
        "unix:///PATH",
    )
    ephemeral_password: Secret | None = Field(
        default=None, description="of Redis; absent: it asks for none"
    )

    @property
    def in_a_file(self) -> bool:
        """Whether the ledger is a file of this machine."""
        return self.ledger.startswith(_SQLITE)

    @property
    def readable_on_the_way(self) -> bool:
        """Whether the ledger's connections go over a network without TLS."""
        hosts = urlsplit(self.ledger).netloc.rpartition("@")[2].split(",")
        names = {re.sub(r":[0-9]+$", "", host) for host in hosts if host}
        return not self.in_a_file and not self.postgres.tls and not names <= _LOOPBACK
