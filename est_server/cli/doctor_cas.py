"""What doctor says about the CAs: whether each can be used, what mends it, when it ends."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from est_server.cli.patient import Finding, expiry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from est_server.cli.patient import Patient
    from est_server.errors import BackendUnavailable

_SOON = timedelta(days=90)
_NEXT = MappingProxyType(
    {
        "ca.unreachable": "see that its service is up and can be reached from here",
        "ca.login": "give this server credentials that it takes",
        "ca.forbidden": "let this server's account use it there: docs/backends.md says what for",
        "ca.misconfigured": "correct cas.{name} in server.yaml, or make what it names",
        "ca.busy": "ask less, or have its limits raised",
        "ca.no-answer": "see its own log",
        "ca.unavailable": "see its own log",
    }
)
"""Rule of a CA elsewhere -> what mends it; a CA whose key is here says it in its hint."""


async def check_cas(patient: Patient) -> AsyncIterator[Finding]:
    """Look at what could not be opened, and let the others sign or be asked."""
    for name, error in patient.cas.broken.items():
        yield Finding("fail", f"{name}: {error.message}", _mended(name, error))
    for name, authority in patient.cas.open.items():
        health = await authority.health()
        then = None if health.ok else f"est-server ca test-sign {name} -c {patient.path}"
        yield Finding("ok" if health.ok else "fail", f"{name}: {health.detail}", then)


def _mended(name: str, error: BackendUnavailable) -> str | None:
    known = _NEXT.get(error.rule, "").format(name=name)
    return "; ".join(part for part in (error.hint, known) if part) or None


async def check_ca_expiry(patient: Patient) -> AsyncIterator[Finding]:
    """Look at the ends of the CAs' certificates."""
    for name, authority in patient.cas.open.items():
        certificates = authority.certificates()
        for certificate in (certificates.issuer, *certificates.chain):
            what = f"{name}: {certificate.subject.rfc4514_string()}"
            yield expiry(what, certificate, patient.now, _SOON, "make its successor")
