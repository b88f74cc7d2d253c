"""The request commands: the review queue."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from est_server.cli.gates import show_gates, show_plan
from est_server.cli.lazy import command_group
from est_server.cli.operator import operator
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import iso, show, show_json, show_list
from est_server.cli.request_resolve import at_ca, resolve

if TYPE_CHECKING:
    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import Ledger, RequestRecord
    from est_server.ports.pending import PendingRequest, PendingState

app = command_group("Requests that wait for people or CAs: list, show, approve, deny, resolve.")
app.command()(resolve)

RequestArgument = Annotated[str, typer.Argument(metavar="ID", help="A request (r_…).")]
State = Literal[
    "waiting",
    "approved",
    "issuing",
    "issued",
    "denied",
    "expired",
    "parked",
    "waiting-for-ca",
    "any",
]
LONGEST_NOTE = 500


def pending_dict(found: PendingRequest) -> dict[str, Any]:
    """Return a pending request in JSON's types."""
    return {
        "request": found.id,
        "state": found.state,
        "operation": found.operation,
        "label": found.label,
        "profile": found.profile,
        "identity": found.identity,
        "device": found.device_id,
        "key_sha256": found.spki_sha256.hex(),
        "created_at": iso(found.created_at),
        "expires_at": iso(found.expires_at),
        "decided_by": found.decided_by,
        "decided_at": iso(found.decided_at),
        "note": found.note,
        "profile_digest": found.profile_digest or None,
        "decision": found.decision_id,
        "issued_as": found.request_id,
    }


def _at_ca_dict(found: RequestRecord, reason: str) -> dict[str, Any]:
    """Return a request that is not settled at its CA, in the same shape."""
    return {
        "request": found.id,
        "state": "waiting-for-ca" if found.state == "waiting" else found.state,
        "operation": found.operation,
        "label": found.label,
        "profile": found.profile,
        "identity": found.identity,
        "device": found.device_id,
        "key_sha256": found.spki_sha256.hex(),
        "created_at": iso(found.created_at),
        "expires_at": None,
        "decided_by": None,
        "decided_at": None,
        "note": reason,
        "profile_digest": None,
        "decision": found.decision_id,
        "issued_as": found.id,
    }


@app.command("list")
def list_(
    state: Annotated[
        State | None,
        typer.Option(help="Only in this state; without it, what is open: not issued, not over."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000)] = 100,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """List requests that wait, or have waited, for a person or a CA; newest first.

    A parked request is one whose outcome at its CA nobody can tell, or whose answer was refused;
    one that waits for its CA was taken by it and is not decided. JSON:
    [{"request", "state", "operation", "label", "profile", "identity", "device", "key_sha256",
    "created_at", "expires_at", "decided_by", "decided_at", "note", "profile_digest", "decision",
    "issued_as"}].

    Example: est-server request list --state waiting
    """

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            found: list[dict[str, Any]] = []
            if state in {None, "any", "parked", "waiting-for-ca"}:
                parked = await ledger.pending.parked(limit=limit)
                rows = [_at_ca_dict(request, reason) for request, reason in parked]
                found += [row for row in rows if state in {None, "any", row["state"]}]
            if state not in {"parked", "waiting-for-ca"}:
                wanted = cast("PendingState | None", None if state == "any" else state)
                records = await ledger.pending.list(
                    state=wanted, open_only=state is None, limit=limit
                )
                found += [pending_dict(record) for record in records]
            return sorted(found, key=lambda row: str(row["request"]), reverse=True)[:limit]

    found = asyncio.run(work())
    columns = ("request", "state", "identity", "operation", "profile", "created_at", "note")
    show_list(output, found, columns)


@app.command("show")
def show_(
    request: RequestArgument, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Show one request: who asks for what, and what would be issued.

    One at a CA is shown with what is known and what a person can do about it.

    JSON: as list, with "gates" and "plan" of the decision that made it wait; at a CA also with
    "ca", "ticket": what the CA calls the order, "certificates": serial numbers of what it made and
    nobody may have, "next_attempt": when the server asks again by itself, and "can": commands.

    Example: est-server request show r_06h0…
    """

    async def work() -> dict[str, Any]:
        async with opened(config) as (_, ledger):
            found = await _find(ledger, request)
            [decision] = await ledger.decisions(decision_id=found["decision"])
            trace = json.loads(decision.trace)
            if found["state"] in {"parked", "waiting-for-ca"}:
                return {**found, **await at_ca(ledger, request), **trace}
            return {**found, **trace}

    found = asyncio.run(work())
    if output == "json":
        show_json(found)
        return
    show(output, found, hidden=("gates", "plan"))
    show_gates(found["gates"])
    show_plan(found["plan"])


@app.command()
def approve(
    request: RequestArgument,
    note: Annotated[str, typer.Option(help="Why; kept with the approval.")] = "",
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Approve a request; the device gets its certificate when it asks again.

    It is decided again then: a device that is quarantined by that time gets nothing. JSON: as list.

    Example: est-server request approve r_06h0… --note "seen on the bench"
    """
    show(output, asyncio.run(_review(config, request, "approve", note)))


@app.command()
def deny(
    request: RequestArgument,
    reason: Annotated[str, typer.Option(help="Why; the device is told.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Deny a request, or take an approval back that is not used yet. JSON: as list.

    Example: est-server request deny r_06h0… --reason "not ours"
    """
    show(output, asyncio.run(_review(config, request, "deny", reason)))


async def _review(
    config: Any, request: str, event: Literal["approve", "deny"], note: str
) -> dict[str, Any]:
    from est_server.app.clock import system_clock
    from est_server.errors import Conflict

    text = " ".join(note.split())
    if len(text) > LONGEST_NOTE or not text.isprintable() or (event == "deny" and not text):
        option = "--note" if event == "approve" else "--reason"
        wanted = f"up to {LONGEST_NOTE} printable characters"
        raise typer.BadParameter(wanted, param_hint=option)
    async with opened(config) as (configuration, ledger):
        found = await _find(ledger, request)
        if found["state"] in {"parked", "waiting-for-ca"}:
            raise Conflict(
                "request.state",
                f"request {request} is {found['state']}: it was allowed, and sent to its CA",
                hint=f"est-server request show {request}",
            )
        now = system_clock()
        digest = ""
        if event == "approve":
            digest = await _remembered(configuration, ledger, found["profile"])
        record = await ledger.pending.review(
            found["request"], event, by=operator(), note=text, profile_digest=digest, at=now
        )
        return pending_dict(record)


async def _find(ledger: Ledger, request: str) -> dict[str, Any]:
    from est_server.errors import NotFound

    if (record := await ledger.pending.get(request)) is not None:
        return pending_dict(record)
    for parked, reason in await ledger.pending.parked(limit=10000):
        if parked.id == request:
            return _at_ca_dict(parked, reason)
    hint = "est-server request list --state any"
    raise NotFound("request.unknown", f"there is no pending request {request}", hint=hint)


async def _remembered(configuration: Configuration, ledger: Ledger, name: str) -> str:
    """Return the digest of the profile that is approved under, and keep its text."""
    from hashlib import sha256

    from est_server.app.clock import system_clock
    from est_server.errors import NotFound

    if (profile := configuration.profiles.get(name)) is None:
        hint = "deny the request, or bring the profile back"
        raise NotFound("profile.unknown", f"there is no profile {name!r} any more", hint=hint)
    digest = sha256(profile.text.encode()).hexdigest()
    await ledger.remember_profiles({digest: (name, profile.text)}, at=system_clock())
    return digest
