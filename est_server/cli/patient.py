"""What the checks of `doctor` look at, and what they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography import x509

    from est_server.app.authorities import Authorities
    from est_server.config.configuration import Configuration
    from est_server.errors import EstServerError
    from est_server.ports.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and the next step if it is not well."""

    status: Literal["ok", "warn", "fail"]
    detail: str
    next: str | None = None


@dataclass(slots=True)
class Patient:
    """What the checks look at."""

    path: Path
    configuration: Configuration
    now: datetime
    cas: Authorities
    ledger: Ledger | None = None
    ledger_error: EstServerError | None = None


def expiry(
    what: str, certificate: x509.Certificate, now: datetime, soon: timedelta, then: str
) -> Finding:
    """Return what the end of `certificate` means: a warning if it comes within `soon`."""
    end = certificate.not_valid_after_utc
    text = f"{what} ends {end:%Y-%m-%d}"
    if end <= now:
        return Finding("fail", text, then)
    return Finding("warn", text, then) if end <= now + soon else Finding("ok", text)
