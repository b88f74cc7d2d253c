"""Named checks of everything that a server needs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from pathlib import Path


async def checks(config: Path) -> list[dict[str, str]]:
    """Return the checks: name, status (ok, warn, fail) and detail with the next step.

    Raises:
        ConfigurationError: the configuration itself can't be used.
    """
    from cryptography import x509

    from est_server.app import open_authorities, ready_ledger, system_clock
    from est_server.config.configuration import load

    configuration = load(config)
    found = [_check("configuration", "ok", f"digest {configuration.digest[:12]}")]
    found += [
        _check("configuration", "warn", f"{problem.position}: {problem.message}")
        for problem in configuration.warnings
    ]
    now = system_clock()
    try:
        for name, authority in open_authorities(configuration).items():
            health = await authority.health()
            found.append(_check(f"ca {name}", "ok" if health.ok else "fail", health.detail))
            end = authority.certificates().issuer.not_valid_after_utc
            status = "ok" if end > now + timedelta(days=90) else "warn"
            found.append(_check(f"ca {name} expiry", status, f"{end:%Y-%m-%d}"))
    except BackendUnavailable as error:
        found.append(_check("ca", "fail", f"{error.message}; {error.hint}"))
    listener = configuration.server.listeners.est
    try:
        data = (configuration.base / listener.certificate).read_bytes()
        end = x509.load_pem_x509_certificate(data).not_valid_after_utc
        status = "ok" if end > now + timedelta(days=30) else "warn"
        found.append(_check("tls expiry", status, f"{end:%Y-%m-%d}"))
    except (OSError, ValueError) as error:
        found.append(_check("tls", "fail", str(error)))
    try:
        ledger = ready_ledger(configuration, migrate=False)
        await ledger.ping()
        found.append(_check("ledger", "ok", "schema fits, reads and writes"))
        for node in await ledger.nodes():
            alive = node.seen_at > now - timedelta(seconds=30)
            same = node.config_digest == configuration.digest
            detail = f"pid {node.pid} on {node.host}, seen {node.seen_at:%H:%M:%S}Z"
            detail += "" if same else "; runs another configuration: est-server config reload"
            found.append(_check("node", "ok" if alive and same else "warn", detail))
        await ledger.close()
    except BackendUnavailable as error:
        found.append(_check("ledger", "fail", f"{error.message}; {error.hint}"))
    return found


def _check(name: str, status: str, detail: str) -> dict[str, str]:
    return {"check": name, "status": status, "detail": detail}
