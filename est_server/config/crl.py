"""The section ``cas.<name>.crl`` of server.yaml."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from est_server.errors import Problem
from est_server.ports.crl import COMPLETE, crl_file
from est_server.ports.scalars import Duration, Strict, duration_text
from est_server.revocation.planning import CrlTimes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.config.document import Document
    from est_server.config.server import ServerModel

MOST_SHARDS = 256


def between(least: timedelta, most: timedelta) -> AfterValidator:
    """Return the check of a time that has bounds, themselves included."""

    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            raise ValueError(f"{duration_text(least)} to {duration_text(most)} are expected")
        return value

    return AfterValidator(check)


_Lifetime = Annotated[Duration, between(timedelta(minutes=1), timedelta(days=366))]
_Delta = Annotated[Duration, between(timedelta(seconds=10), timedelta(days=31))]
_Kept = Annotated[Duration, between(timedelta(0), timedelta(days=50 * 365))]


class Crl(Strict):
    """How this CA's revocation lists are published (RFC 5280 5)."""

    enabled: bool = Field(default=True, description="false: nobody here publishes for this CA")
    lifetime: _Lifetime = Field(
        default=timedelta(hours=24),
        description="from thisUpdate to nextUpdate of a complete list: how long a relying party "
        "that can't reach us goes on",
    )
    interval: _Lifetime | None = Field(
        default=None,
        description="from one complete list to the next, shorter than lifetime; absent: a third "
        "of it. The difference is what an outage may take",
    )
    delta: bool = Field(
        default=True,
        description="publish delta CRLs, seconds after a revocation; false: the complete list is "
        "published again instead",
    )
    complete: Literal["interval", "revocation"] = Field(
        default="interval",
        description="when a complete list is published: each interval, or after a revocation too, "
        "for consumers that know no delta CRLs (nginx, HAProxy, Envoy)",
    )
    delta_lifetime: _Delta = Field(
        default=timedelta(hours=1), description="from thisUpdate to nextUpdate of a delta CRL"
    )
    shards: int = Field(
        default=0,
        ge=0,
        le=MOST_SHARDS,
        description="partial lists beside the complete one: certificates that are issued from now "
        "on name one of them, and never another",
    )
    keep_expired: _Kept = Field(
        default=timedelta(0),
        description="how long revoked certificates stay listed beyond their end, for signatures "
        "that outlive them; 0s: until one list has shown them",
    )
    directory: str | None = Field(
        default=None,
        min_length=1,
        description="a folder where the lists are written too, for another web server",
    )
    url: str | None = Field(
        default=None,
        pattern=r"^http://[^/?#\s{}]+(/[^?#\s{}]*)?$",
        max_length=256,
        description="where others serve the folder; absent: /crl/ of the public listener",
    )

    @model_validator(mode="after")
    def _overlap(self) -> Crl:
        if self.interval is not None and self.interval >= self.lifetime:
            raise ValueError(
                "interval is not shorter than lifetime: each list would end before the next comes"
            )
        return self

    def times(self) -> CrlTimes:
        """Return the section's times as they run."""
        return CrlTimes(
            lifetime=self.lifetime,
            interval=self.interval or self.lifetime / 3,
            delta_lifetime=self.delta_lifetime if self.delta else None,
            keep_expired=self.keep_expired,
            complete_at_once=self.complete == "revocation",
        )


def check_crl_names(document: Document, server: ServerModel) -> Iterator[Problem]:
    """Yield CAs whose lists would have the same file: ``a-1`` and the first part of ``a``."""
    taken: dict[str, str] = {}
    for name in server.cas:
        for shard in range(COMPLETE, MOST_SHARDS + 1):
            for kind in ("base", "delta"):
                file = crl_file(name, shard, kind)
                if (other := taken.setdefault(file, name)) != name:
                    text = f"cas.{name}: its list {file} could be one of CA {other!r}"
                    yield Problem(document.key("cas", name), "E271", text, "rename one of them")
                    break
            else:
                continue
            break


def lint_crl(document: Document, server: ServerModel) -> Iterator[Problem]:
    """Yield warnings about the CAs' CRL sections."""
    for name, ca in server.cas.items():
        section = ca.crl
        if section is None or not section.enabled:
            continue

        def warning(code: str, key: str, text: str, hint: str, name: str = name) -> Problem:
            path = ("cas", name, "crl", key)
            lead = ".".join(path)
            at = document.value(*path)
            return Problem(at, code, f"{lead}: {text}", hint, severity="warning")

        if section.interval is not None and section.interval > section.lifetime / 2:
            text = "an outage as long as what is left of a list's life leaves relying parties blind"
            hint = f"at most {duration_text(section.lifetime / 2)}"
            yield warning("W270", "interval", text, hint)
        if section.delta and section.delta_lifetime >= section.lifetime:
            text = "a delta CRL lives as long as the list that it refers to"
            yield warning("W271", "delta_lifetime", text, "an hour is usual")
        if not section.delta and "complete" in section.model_fields_set:
            text = "without delta CRLs a complete list follows each revocation in any case"
            yield warning("W275", "complete", text, "leave one of them out")
        if server.listeners.public is None and section.url is None:
            text = "nobody can fetch these lists, and none can say where its delta CRLs are"
            yield warning("W272", "url", text, "listeners.public, or directory and url")
