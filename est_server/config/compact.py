"""The section ``cas.<name>.compact`` of server.yaml."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from est_server.config.crl import between
from est_server.errors import Problem
from est_server.ports.scalars import Duration, Strict, duration_text
from est_server.revocation.compact import CompactTimes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from est_server.config.mending import Content
    from est_server.config.profile_files import ProfileFile
    from est_server.config.server import ServerModel

_UNDER_WAY = timedelta(minutes=10)
"""How long a certificate may be under way, and how far the clocks of servers may be apart."""
_Every = Annotated[Duration, between(timedelta(minutes=1), timedelta(days=31))]
_Lifetime = Annotated[Duration, between(timedelta(minutes=2), timedelta(days=366))]
_Lag = Annotated[Duration, between(timedelta(minutes=15), timedelta(days=366))]


class Compact(Strict):
    """Compact sets: the state of every certificate in one small file (docs/compact-set.md)."""

    every: _Every = Field(default=timedelta(hours=1), description="from one set to the next")
    lifetime: _Lifetime = Field(
        default=timedelta(hours=24),
        description="from thisUpdate to nextUpdate: how long a device goes on with the same set",
    )
    lag: _Lag = Field(
        default=timedelta(hours=1),
        description="certificates that begin less than this before a set is made are not covered "
        "by it; ten minutes more than any profile's backdate at least",
    )

    @model_validator(mode="after")
    def _overlap(self) -> Compact:
        if self.every >= self.lifetime:
            raise ValueError(
                "every is not shorter than lifetime: each set would end before the next comes"
            )
        return self

    def times(self) -> CompactTimes:
        """Return the section's times as they run."""
        return CompactTimes(self.every, self.lifetime, self.lag)


def check_backdates(
    server: Content[ServerModel], profiles: Mapping[str, ProfileFile]
) -> Iterator[Problem]:
    """Yield profiles whose certificates would begin before sets that do not know of them."""
    for file in profiles.values():
        ca, content = server.model.cas.get(file.model.ca), file.model.certificate
        if not file.content.tells(("ca",), ("certificate", "backdate")):
            continue
        if not server.tells(("cas", file.model.ca, "compact")):
            continue
        if ca is None or ca.compact is None or content.backdate + _UNDER_WAY <= ca.compact.lag:
            continue
        given = "backdate" in content.model_fields_set
        at = file.document.value("certificate", "backdate" if given else "lifetime")
        text = (
            f"certificate.backdate: compact sets of CA {file.model.ca} would take certificates "
            "of this profile that they do not know for known"
        )
        least = duration_text(content.backdate + _UNDER_WAY)
        yield Problem(at, "E272", text, f"cas.{file.model.ca}.compact.lag: at least {least}")
