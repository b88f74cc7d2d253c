"""What doctor says about the audit log: its key, its checkpoints, its anchors."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from est_server.app.audit import open_signer, verifying_keys
from est_server.app.clock import system_clock
from est_server.audit.notes import check_signature
from est_server.cli.patient import Finding
from est_server.errors import BackendUnavailable, Malformed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from est_server.cli.patient import Patient

_LATE = timedelta(minutes=1)


async def check_audit(patient: Patient) -> AsyncIterator[Finding]:
    """Look at who signs the log, at its newest checkpoint, and at what waits for the next one."""
    audit = patient.configuration.server.audit
    if audit is None:
        text = "nobody signs the audit log: who has the ledger can write another history"
        yield Finding("warn", text, f"est-server audit init -c {patient.path}")
        return
    try:
        signer = open_signer(patient.configuration, system_clock)
    except BackendUnavailable as error:
        yield Finding("fail", error.message, error.hint)
        return
    if audit.anchor is None:
        text = "no checkpoint is written down elsewhere: who has this machine can sign, too"
        yield Finding("warn", text, "audit.anchor in server.yaml: file, syslog or timestamp")
    if patient.ledger is None:
        return
    state = await patient.ledger.audit.state()
    if state.newest is None:
        text = f"{state.waiting} leaves wait for the first checkpoint"
        yield Finding("ok", text, "est-server audit checkpoint")
        return
    try:
        newest = check_signature(state.newest, verifying_keys(patient.configuration, signer))
    except Malformed as error:
        then = "audit.former_keys, if the key was replaced; else est-server audit verify"
        yield Finding("fail", error.message, then)
        return
    text = f"checkpoint of {newest.size} leaves at {newest.at.isoformat()}"
    if newest.origin != audit.origin:
        text += f", of {newest.origin}: audit.origin says {audit.origin}"
        yield Finding("fail", text, "a ledger's log keeps its name")
    elif state.waiting and patient.now - newest.at > audit.every + _LATE:
        text += f"; {state.waiting} leaves wait for the next one"
        yield Finding("warn", text, "a running server signs: see audit in its log")
    else:
        yield Finding("ok", text)
