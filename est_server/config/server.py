"""server.yaml as operators write it; paths in it start at its folder.

The docstrings and field descriptions become the JSON Schema that editors show (`est-server config
schema server`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from est_server.config.attestation import Attestation
from est_server.config.audit import Audit
from est_server.config.compact import Compact
from est_server.config.crl import Crl
from est_server.config.ocsp import Ocsp
from est_server.config.retention import Retention
from est_server.config.state import State
from est_server.ports.ephemeral import Budget
from est_server.ports.scalars import Duration, Strict, duration_text
from est_server.ports.secret import Secret

_LAST_PORT = 65535
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+")
_RATE = re.compile(r"([0-9]{1,6})/([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _address(value: Any) -> Any:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    digits = port.isascii() and port.isdecimal() and len(port) <= len(str(_LAST_PORT))
    if not colon or not _HOST.fullmatch(host) or not digits or int(port) > _LAST_PORT:
        raise ValueError("not an address like 0.0.0.0:8443 or [::1]:8443")
    return value


def _network(value: Any) -> Any:
    try:
        ip_network(value)
    except (ValueError, TypeError):
        raise ValueError("not a network like 192.0.2.10/32 or 2001:db8::/64") from None
    return value


def _rate(value: Any) -> Budget:
    if isinstance(value, Budget):
        return value
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError("not a rate: attempts in a time (s, m, h, d), like 10/5m")
    return Budget(int(match[1]), int(match[2]) * _SECONDS[match[3]])


def rate_text(value: Budget) -> str:
    """Return a text that `Rate` reads as `value`: ``10/5m``."""
    return f"{value.attempts}/{duration_text(timedelta(seconds=value.seconds))}"


Address = Annotated[
    str,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "examples": ["0.0.0.0:8443", "[::1]:8443"]}),
]
"""A host and a port to listen on; port 0 takes a free one."""

Network = Annotated[
    str,
    BeforeValidator(_network),
    WithJsonSchema({"type": "string", "examples": ["192.0.2.10/32", "2001:db8::/64"]}),
]
"""A network of addresses."""

Rate = Annotated[
    Budget,
    PlainValidator(_rate),
    PlainSerializer(rate_text, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+/[0-9]+[smhd]$", "examples": ["10/5m"]}),
]
"""How many attempts in which time, such as ``10/5m``."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
"""A name that profiles and URLs use."""


def _at_most(longest: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not timedelta(0) < value <= longest:
            raise ValueError(f"more than 0s and at most {duration_text(longest)} is expected")
        return value

    return AfterValidator(check)


Timeout = Annotated[Duration, _at_most(timedelta(hours=1))]
Window = Annotated[Duration, _at_most(timedelta(days=366))]

File = Annotated[str, Field(min_length=1)]


def host_and_port(address: str) -> tuple[str, int]:
    """Return the parts of an `Address`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class TlsListener(Strict):
    """A listener over HTTPS."""

    listen: Address = "0.0.0.0:8443"
    certificate: File = Field(
        default="tls/server.pem", description="PEM chain, the server's own certificate first"
    )
    key: Secret = Field(
        default=Secret("file", "tls/server.key"), description="PEM key of the certificate"
    )


class ProxySettings(Strict):
    """Proxies that end the devices' TLS and say who they are (RFC 9440 Client-Cert)."""

    networks: tuple[Network, ...] = Field(
        description="where the proxies connect from; a proxy must remove Client-Cert and "
        "Client-Cert-Chain that its own clients send",
    )
    only: bool = Field(
        default=False, description="refuse everybody else: devices come through a proxy only"
    )

    @model_validator(mode="after")
    def _some(self) -> ProxySettings:
        if not self.networks:
            raise ValueError("networks is empty: leave proxies out, or name where they are")
        return self


class EstListener(TlsListener):
    """EST over HTTPS."""

    proxies: ProxySettings | None = Field(
        default=None, description="absent: nobody's Client-Cert is believed"
    )


class PublicListener(Strict):
    """Plain HTTP for relying parties: issuer certificates, revocation lists, OCSP."""

    listen: Address = "0.0.0.0:8080"
    url: str = Field(
        pattern=r"^http://[^/?#\s]+(/[^?#\s]*)?$",
        max_length=256,
        description="how relying parties reach this listener: certificates carry it, so it is "
        "http (RFC 5280 8) and a name that works everywhere",
    )
    responder_passphrase: Secret | None = Field(
        default=None,
        description="encrypts the keys of OCSP responders in the ledger, where processes that have "
        "no CA's key find them (--role validation); absent: those answer no OCSP",
    )
    feed_streams: int = Field(
        default=1000,
        ge=0,
        le=100_000,
        description="how many may follow the revocation feed at once, in each server process; one "
        "takes an open file",
    )


class AdminListener(Strict):
    """Health, metrics and administration over HTTPS."""

    listen: Address = "127.0.0.1:8444"
    certificate: File | None = Field(default=None, description="absent: that of est")
    key: Secret | None = Field(default=None, description="absent: that of est")


class Listeners(Strict):
    """Where the server listens."""

    est: EstListener = EstListener()
    public: PublicListener | None = Field(default=None, description="absent: not served")
    admin_: AdminListener = Field(default=AdminListener(), alias="admin")

    @property
    def admin(self) -> TlsListener:
        """The admin listener, complete."""
        given = self.admin_
        return TlsListener(
            listen=given.listen,
            certificate=given.certificate or self.est.certificate,
            key=given.key or self.est.key,
        )


class Ca(BaseModel):
    """One certificate authority; what is not named here is the backend's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    backend: str = Field(description="which kind of CA: soft, or another that is installed")
    crl: Crl | None = Field(
        default=None, description="absent: published with the defaults if the CA's key is local"
    )
    compact: Compact | None = Field(default=None, description="absent: no compact sets")
    ocsp: Ocsp | None = Field(
        default=None, description="absent: answers with the defaults if the CA's key is local"
    )


class Credentials(Strict):
    """Enrollment credentials."""

    key: Secret = Field(
        default=Secret("file", "secrets/credentials.key"),
        description="the HMAC key that generated passwords are stored with",
    )


class Limits(Strict):
    """What one peer may take."""

    body: int = Field(default=65536, ge=4096, le=1 << 20, description="octets of a request body")
    handshake_timeout: Timeout = Field(
        default=timedelta(seconds=10), description="for a TLS handshake"
    )
    body_timeout: Timeout = Field(
        default=timedelta(seconds=30), description="for all of a request body to arrive"
    )
    idle_timeout: Timeout = Field(
        default=timedelta(seconds=30), description="without a complete request, headers included"
    )
    drain_timeout: Timeout = Field(
        default=timedelta(seconds=10),
        description="that requests under way have when a process ends",
    )
    attempts_per_user: Rate = Field(
        default=Budget(10, 300), description="failed passwords for one user name from one address"
    )
    attempts_per_address: Rate = Field(
        default=Budget(100, 300), description="failed passwords from one address"
    )
    nonces_per_address: Rate = Field(
        default=Budget(120, 60), description="nonces for evidence that one address may ask for"
    )
    idempotency_window: Window = Field(
        default=timedelta(hours=24),
        description="how long the same request gets the same certificate",
    )


class Log(Strict):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class ServerModel(Strict):
    """The server: where it listens, which CAs it has, where it keeps its state, whom it trusts."""

    version: Literal["1"] = Field(description="version of this file format")
    listeners: Listeners = Listeners()
    cas: dict[Name, Ca] = Field(min_length=1, description="the CAs, by the name profiles use")
    state: State = State()
    trust: dict[Name, File] = Field(
        default_factory=dict,
        description="trust stores by the name profiles use: PEM files of manufacturers' CAs, or "
        "`system` for the anchors that came with the system (RFC 7030 3.1, implicit)",
    )
    profiles: File = Field(default="profiles", description="the folder of the profiles")
    credentials: Credentials = Credentials()
    attestation: Attestation = Attestation()
    audit: Audit | None = Field(
        default=None, description="absent: the audit log is kept, and nobody signs it"
    )
    limits: Limits = Limits()
    retention: Retention = Retention()
    realm: str = Field(
        default="est-server",
        pattern=r"^[ !#-\[\]-~]{1,64}$",
        description="what HTTP Basic calls this server (RFC 9110 11.5)",
    )
    lenient_bodies: bool = Field(
        default=True, description="read PEM and raw DER where RFC 8951 says base64"
    )
    log: Log = Log()
