"""server.yaml as operators write it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from est_server.ports.ephemeral import Budget
from est_server.ports.secret import Secret
from est_server.profiles.scalars import Duration, Strict


def _address(value: Any) -> Any:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("not an address like 0.0.0.0:8443 or [::1]:8443")
    return value


def _budget(value: Any) -> Any:
    count, slash, span = value.partition("/") if isinstance(value, str) else ("", "", "")
    units = {"s": 1, "m": 60, "h": 3600}
    if not slash or not count.isdecimal() or not span[:-1].isdecimal() or span[-1:] not in units:
        raise ValueError("not a rate like 10/5m")
    seconds = int(span[:-1]) * units[span[-1]]
    if not int(count) or not seconds:
        raise ValueError("a rate needs at least one attempt in at least one second")
    return Budget(int(count), seconds)


Address = Annotated[str, BeforeValidator(_address)]
Rate = Annotated[Any, BeforeValidator(_budget)]


def host_and_port(address: str) -> tuple[str, int]:
    """Return the parts of an `Address`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class TlsListener(Strict):
    """A listener with TLS; paths start at server.yaml's folder."""

    listen: Address
    certificate: str = Field(description="PEM chain, the server's own certificate first")
    key: Secret


class PublicListener(Strict):
    """Plain HTTP for relying parties; `url` is what certificates carry."""

    listen: Address = "0.0.0.0:8080"
    url: str = Field(pattern=r"^http://[^/]+(/.*)?$")


class Listeners(Strict):
    """Where the server listens."""

    est: TlsListener
    public: PublicListener | None = None
    admin: TlsListener | None = None


class State(Strict):
    """Where state is kept, by URL."""

    ledger: str = "sqlite:///state/ledger.db"
    ephemeral: str = "memory:"


class Credentials(Strict):
    """The key that generated passwords are hashed with."""

    key: Secret


class Limits(Strict):
    """What one peer may take."""

    body: int = Field(default=65536, ge=4096, le=1 << 20, description="octets of a request body")
    handshake_timeout: Duration = timedelta(seconds=10)
    body_timeout: Duration = timedelta(seconds=30)
    idle_timeout: Duration = Field(
        default=timedelta(seconds=30), description="without a complete request, headers included"
    )
    attempts_per_user: Rate = Field(default=Budget(10, 300), description="failed passwords: 10/5m")
    attempts_per_address: Rate = Field(default=Budget(100, 300), description="100/5m")
    idempotency_window: Duration = timedelta(hours=24)


class Log(Strict):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class ServerModel(Strict):
    """server.yaml; the keys of a CA beside `backend` are the backend's own."""

    version: Literal["1"]
    listeners: Listeners
    cas: dict[str, dict[str, Any]] = Field(min_length=1)
    state: State = State()
    trust: dict[str, str] = Field(default_factory=dict, description="name: PEM file of CA roots")
    profiles: str = "profiles"
    credentials: Credentials
    limits: Limits = Limits()
    realm: str = Field(default="est-server", pattern=r'^[^"\\\x00-\x1f]{1,64}$')
    lenient_bodies: bool = Field(default=True, description="read PEM and DER bodies too")
    log: Log = Log()
