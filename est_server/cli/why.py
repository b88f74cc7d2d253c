"""The why command."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.appraisal import show_attestation
from est_server.cli.cert import serial_number
from est_server.cli.cert_revoke import event_dict
from est_server.cli.gates import show_gates, show_plan, show_verdict
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import iso, show_json, text

if TYPE_CHECKING:
    from est_server.ports.ledger import DecisionRecord, Ledger

app = command_group("Explain a decision.")


@app.command()
def why(
    identifier: Annotated[
        str,
        typer.Argument(metavar="ID", help="A decision (d_…), request (r_…), serial or device."),
    ],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of how many decisions.")] = 20,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Explain why something was issued or refused, newest first.

    A certificate's number shows the decision that issued it, and those that supersede it.

    Each gate is shown with its outcome and the line of the profile that decided; the profile's
    digest tells which text that was. JSON: [{"decision", "request", "at", "verdict", "rule",
    "message", "operation", "label", "identity", "device", "profile", "profile_digest",
    "profile_changed_since", "ca", "serial", "review": {"request", "state", "by", "at", "note"},
    "events", "gates": [{"rule", "ok", "detail", "at"}], "plan", "attestation"}];
    "attestation" is there where evidence was appraised, "review" is null where nobody was asked,
    "events" is what `cert revoke` and `cert release` did, as they tell it.

    Example: est-server why d_06h0nq0sw135w641gea4y645kv
    """

    async def work() -> list[dict[str, Any]]:
        from hashlib import sha256

        from est_server.errors import NotFound

        async with opened(config) as (configuration, ledger):
            found = await decisions_about(ledger, identifier, limit)
            if not found:
                hint = "give a decision (d_…), a request (r_…), a serial number or a device"
                raise NotFound("why.unknown", f"nothing is known of {identifier}", hint=hint)
            today = {
                name: sha256(profile.text.encode()).hexdigest()
                for name, profile in configuration.profiles.items()
            }
            return [
                _decision_dict(
                    decision,
                    today,
                    await _review(ledger, decision),
                    await _events(ledger, decision),
                )
                for decision in found
            ]

    found = asyncio.run(work())
    if output == "json":
        show_json(found)
        return
    for number, decision in enumerate(found):
        if number:
            print()
        _print(decision)


async def decisions_of_device(ledger: Ledger, device_id: str, limit: int) -> list[DecisionRecord]:
    """Return the newest decisions about a device, or about whoever used its name."""
    found = {
        decision.id: decision
        for decision in (
            *await ledger.decisions(identity=device_id, limit=limit),
            *await ledger.decisions(device_id=device_id, limit=limit),
        )
    }
    newest = sorted(found.values(), key=lambda decision: (decision.at, decision.id), reverse=True)
    return newest[:limit]


async def decisions_about(ledger: Ledger, identifier: str, limit: int) -> list[DecisionRecord]:
    """Return the decisions that a decision, a request, a serial number or a device leads to."""
    if identifier.startswith("d_"):
        found = await ledger.decisions(decision_id=identifier)
    elif identifier.startswith("r_"):
        found = await _decisions_of_request(ledger, identifier)
    else:
        found = await decisions_of_device(ledger, identifier, limit)
    if found:
        return list(found)
    # a device may be called d_7, and a serial number may look like a device
    if identifier.startswith(("d_", "r_")):
        return await decisions_of_device(ledger, identifier, limit)
    if (number := serial_number(identifier)) is None:
        return []
    found = []
    for certificate in await ledger.certificates(serial_number=number):
        planned = await ledger.supersessions.of_certificate(certificate.ca, number)
        requests = (*(one.request_id for one in planned), certificate.request_id)
        for request in requests:
            found += await ledger.decisions(request_id=request)
    return found


async def _decisions_of_request(ledger: Ledger, identifier: str) -> list[DecisionRecord]:
    """Return why a request waited, and why it was issued, whichever of the two ids is given."""
    pending = await ledger.pending.get(identifier)
    ids = {identifier} if pending is None else {pending.id, pending.request_id or pending.id}
    found = [decision for request in ids for decision in await ledger.decisions(request_id=request)]
    return sorted(found, key=lambda decision: decision.id, reverse=True)


async def _review(ledger: Ledger, decision: DecisionRecord) -> dict[str, Any] | None:
    if decision.request_id is None:
        return None
    if (found := await ledger.pending.get(decision.request_id)) is None:
        return None
    return {
        "request": found.id,
        "state": found.state,
        "by": found.decided_by,
        "at": iso(found.decided_at),
        "note": found.note,
    }


async def _events(ledger: Ledger, decision: DecisionRecord) -> list[dict[str, Any]]:
    if decision.serial_number is None:
        return []
    found = await ledger.revocations.events(serial_number=decision.serial_number)
    return [event_dict(event) for event in found if event.ca == decision.ca]


def _decision_dict(
    decision: DecisionRecord,
    today: dict[str, str],
    review: dict[str, Any] | None,
    events: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "decision": decision.id,
        "request": decision.request_id,
        "at": iso(decision.at),
        "verdict": decision.verdict,
        "rule": decision.rule,
        "message": decision.message,
        "operation": decision.operation,
        "label": decision.label,
        "identity": decision.identity,
        "device": decision.device_id,
        "profile": decision.profile,
        "profile_digest": decision.profile_digest,
        "profile_changed_since": today.get(decision.profile) != decision.profile_digest,
        "ca": decision.ca,
        "serial": None if decision.serial_number is None else f"{decision.serial_number:x}",
        "review": review,
        "events": events,
        **json.loads(decision.trace),
    }


def _print(decision: dict[str, Any]) -> None:
    changed = ", another one than today's" if decision["profile_changed_since"] else ""
    print(f"decision {decision['decision']} at {decision['at']}")
    print(f"  {decision['operation']} by {text(decision['identity']) or 'nobody known'}")
    print(f"  profile {decision['profile']}@{decision['profile_digest'][:12]}{changed}")
    if decision["request"]:
        print(f"  request {decision['request']}")
    if decision["serial"]:
        print(f"  certificate {decision['serial']} of CA {decision['ca']}")
    for event in decision["events"]:
        reason = f", {event['reason']}" if event["reason"] else ""
        note = f": {text(event['note'])}" if event["note"] else ""
        print(f"  {event['action']} at {event['at']} by {text(event['actor'])}{reason}{note}")
    if review := decision["review"]:
        by = f" by {text(review['by'])} at {review['at']}" if review["by"] else ""
        note = f": {text(review['note'])}" if review["note"] else ""
        print(f"  review {review['request']} {review['state']}{by}{note}")
    show_gates(decision["gates"])
    show_attestation(decision.get("attestation"))
    show_verdict(decision["verdict"], decision["rule"], decision["message"])
    show_plan(decision["plan"])
