"""The section ``cas.<name>.ocsp`` of server.yaml."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from est_server.errors import Problem
from est_server.pki.keys import KEY_ALGORITHMS
from est_server.ports.scalars import Duration, Strict, duration_text
from est_server.revocation.ocsp_policy import OcspPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.config.document import Document
    from est_server.config.server import ServerModel


def _between(least: timedelta, most: timedelta) -> AfterValidator:
    def check(value: timedelta) -> timedelta:
        if not least <= value <= most:
            text = f"{duration_text(least)} to {duration_text(most)} are expected"
            raise ValueError(text)
        return value

    return AfterValidator(check)


_Lifetime = Annotated[Duration, _between(timedelta(minutes=1), timedelta(days=14))]
_ResponderLifetime = Annotated[Duration, _between(timedelta(hours=1), timedelta(days=90))]


class Ocsp(Strict):
    """How relying parties are told the status of this CA's certificates (RFC 6960)."""

    enabled: bool = Field(default=True, description="false: nobody here answers for this CA")
    lifetime: _Lifetime = Field(
        default=timedelta(hours=1),
        description="from thisUpdate to nextUpdate: how long clients and caches keep an answer",
    )
    presign: bool = Field(
        default=True,
        description="keep answers in memory and sign them again in time; false: sign each one "
        "when it is asked for",
    )
    never_issued: Literal["unknown", "revoked"] = Field(
        default="unknown",
        description="the status of serial numbers that this CA never used; revoked comes with "
        "id-pkix-ocsp-extended-revoke",
    )
    responder_key: Literal[KEY_ALGORITHMS] = Field(  # type: ignore[valid-type]  # the names are in one place
        default="EC-P256", description="algorithm of the responder's key"
    )
    responder_lifetime: _ResponderLifetime = Field(
        default=timedelta(days=7),
        description="of the responder's certificate, which can't be revoked and renews itself",
    )

    def policy(self) -> OcspPolicy:
        """Return the section as it runs."""
        return OcspPolicy(
            lifetime=self.lifetime,
            presign=self.presign,
            never_issued=self.never_issued,
            responder_key=self.responder_key,
            responder_lifetime=self.responder_lifetime,
        )


def lint_ocsp(document: Document, server: ServerModel) -> Iterator[Problem]:
    """Yield warnings about the CAs' OCSP sections."""
    for name, ca in server.cas.items():
        section = ca.ocsp
        if section is None or not section.enabled:
            continue
        path = ("cas", name, "ocsp")
        if server.listeners.public is None:
            at = document.key(*path)
            text = f"{'.'.join(path)}: nobody can ask: there is no public listener"
            yield Problem(at, "W261", text, "listeners.public", severity="warning")
        if section.responder_lifetime < 6 * section.lifetime:
            at = document.value(*path, "responder_lifetime")
            text = (
                f"{'.'.join(path)}.responder_lifetime: answers of "
                f"{duration_text(section.lifetime)} would be cut short by their signer's end, "
                "or it is renewed all the time"
            )
            least = duration_text(6 * section.lifetime)
            yield Problem(at, "W260", text, f"at least {least}", severity="warning")
