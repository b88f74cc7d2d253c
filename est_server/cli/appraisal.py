"""The appraisal of evidence that nobody sent, and how a result reads, stored or not."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import typer

from est_server.cli.output import text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from est_server.attestation.policy import Policy
    from est_server.ports.attestation import AttestationResult
    from est_server.ports.ledger import Ledger
    from est_server.ports.nonces import TakenNonce
    from est_server.wire.pkcs10 import CertificationRequest

_COLOURS = {
    "affirming": typer.colors.GREEN,
    "warning": typer.colors.YELLOW,
    "contraindicated": typer.colors.RED,
    "none": typer.colors.RED,
}


async def appraised(
    policy: Policy,
    csr: CertificationRequest,
    ledger: Ledger,
    *,
    nonce: bytes | None,
    identity: str,
    client_chain: tuple[bytes, ...] = (),
    at: datetime,
) -> AttestationResult:
    """Return what production would make of a CSR's evidence; no nonce is spent.

    Args:
        policy: to appraise under.
        csr: the request; its signature has been checked.
        ledger: knows what went with the nonces that were given out, used or not.
        nonce: taken as given out to this device; None takes those that the ledger has.
        identity: who asks.
        client_chain: what the device shows on its connection.
        at: the time to judge for.

    Raises:
        Malformed, BackendUnavailable: as in `Appraiser.appraise_csr`.
    """
    from est_server.enrollment.appraising import Appraiser
    from est_server.errors import Conflict
    from est_server.ports.nonces import TakenNonce

    async def take(digest: bytes) -> TakenNonce:
        found = await ledger.nonces.get(digest)
        if nonce is None and found is None:
            raise Conflict("nonce.unknown", "this server has not given out this nonce, or long ago")
        if nonce is not None and sha256(nonce).digest() != digest:
            raise Conflict("nonce.unknown", "another nonce than the one that was named")
        return TakenNonce("{}" if found is None else found.kept, again=False)

    appraiser = Appraiser({}, ledger, 60.0, lambda: at)
    return await appraiser.appraise_csr(policy, csr, identity, client_chain, take)


def show_attestation(result: Mapping[str, Any] | None) -> None:
    """Print an Attestation Result, each check with what was expected and what was there."""
    if result is None:
        return
    name, _, digest = result["policy"].partition("@sha256:")
    status = typer.style(result["status"], fg=_COLOURS[result["status"]])
    typer.echo(f"attestation {status}, policy {text(name)}@{digest[:12]}: {result['do']}")
    for change in result["worse"]:
        typer.secho(f"  worse than before: {text(change)}", fg=typer.colors.RED)
    for rule, found in result["submods"].items():
        status = typer.style(found["ear.status"], fg=_COLOURS[found["ear.status"]])
        kind = f", statement {found['type']}" if found["type"] else ""
        typer.echo(f"  {text(rule)} ({found['verifier']}, {found['enforce']}): {status}{kind}")
        if found["code"] and not found["checks"]:
            said = f": {text(found['actual'])}, not {text(found['expected'])}"
            typer.echo(f"    ✗ {found['code']}{said if found['actual'] else ''}")
        _show_checks(found["checks"], "    ")
    _show_checks(result["checks"], "  ")


def _show_checks(checks: Sequence[Mapping[str, Any]], indent: str) -> None:
    for check in checks:
        mark = (
            typer.style("✓", fg=typer.colors.GREEN)
            if check["passed"]
            else typer.style("✗", fg=_COLOURS[check["rating"]])
        )
        actual, expected = text(check["actual"]), text(check["expected"])
        typer.echo(f"{indent}{mark} {check['code']}: {actual}; expected {expected}")
