"""The keys of an ACME server as a CA in server.yaml, and what such a CA can do."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from backends.acme_plan import SubjectRule
from est_server.pki.usages import EXTENDED_KEY_USAGES, KEY_USAGES
from est_server.ports.ca import Capabilities
from est_server.ports.scalars import Duration, Strict
from est_server.ports.secret import Secret

REPEATS_FOR = timedelta(minutes=10)
"""For as long as a server keeps its order, in fact, which is hours at least."""
_DEVICE_KEYS = frozenset({"RSA-2048", "RSA-3072", "RSA-4096", "EC-P256", "EC-P384"})


class ExternalAccount(Strict):
    """What the CA gave to bind the account to its customer (RFC 8555 7.3.4)."""

    key_id: str = Field(min_length=1)
    mac_key: Secret = Field(description="base64url, as the CA shows it: file:secrets/acme-eab")


class AcmeUpstreamSettings(Strict):
    """Keys of an ACME server as a CA in server.yaml."""

    directory: str = Field(
        pattern=r"^https://[^/?#\s]+/[^?#\s]*$", description="https://acme.example.net/directory"
    )
    trust: tuple[str, ...] = Field(
        default=(), description="PEM files of its TLS anchors; absent: the system's"
    )
    account_key: Secret = Field(
        description="PEM, EC or RSA, and it is the account: openssl genpkey -algorithm EC -pkeyopt "
        "ec_paramgen_curve:P-256 -out ca/acme.key"
    )
    external_account: ExternalAccount | None = None
    contact: tuple[str, ...] = Field(default=(), description="mailto: URLs, for a new account")
    terms_of_service_agreed: bool = Field(
        default=False, description="that you have read them, and agree"
    )
    issuers: tuple[str, ...] = Field(
        min_length=1,
        description="PEM files: the CA's roots, and its issuing CAs as far as they are known",
    )
    learned: str | None = Field(
        default=None,
        description="PEM file that keeps issuing CAs which came with certificates; absent: "
        "ca/NAME.issuers",
    )
    subject: SubjectRule = Field(
        default="common_name", description="what it writes: one of the DNS names, or nothing"
    )
    lifetime: Duration | None = Field(
        default=None,
        description="how long its certificates last; absent: as ordered (notBefore, notAfter)",
    )
    key_usage: tuple[str, ...] = Field(
        default=("digitalSignature",), description="what it writes into every certificate"
    )
    extended_key_usage: tuple[str, ...] = Field(
        default=("serverAuth",), description="what it writes into every certificate"
    )
    timeout: Duration = Field(default="20s", validate_default=True)

    @model_validator(mode="after")
    def _usages(self) -> AcmeUpstreamSettings:
        known = {"key_usage": KEY_USAGES, "extended_key_usage": tuple(EXTENDED_KEY_USAGES)}
        for key, names in known.items():
            for one in getattr(self, key):
                if one not in names:
                    raise ValueError(f"{key}: {one!r} is none of {', '.join(names)}")
        return self


def capabilities(settings: AcmeUpstreamSettings) -> Capabilities:
    """Return what the server can do: names, and dates where it takes them."""
    purposes = {EXTENDED_KEY_USAGES[one] for one in settings.extended_key_usage}
    return Capabilities(
        device_keys=_DEVICE_KEYS,
        revokes=True,
        looks_up=True,
        prepares=True,
        repeats_for=REPEATS_FOR,
        may_wait=True,
        forwards_csr=True,
        own=frozenset({"serial", "validity", "extensions"}),
        shortest_lifetime=settings.lifetime,
        subject="dns" if settings.subject == "common_name" else "empty",
        name_kinds=frozenset({"dns", "ip"}),
        extended_key_usages=frozenset(purposes),
        writes=frozenset({*settings.key_usage, *purposes}),
        certificate_policies=False,
    )
