"""cert revoke and cert release: one certificate, or many after their number was confirmed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from est_server.cli.operator import operator
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, moment, opened
from est_server.cli.output import iso, show
from est_server.cli.progress import bar

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import CertificateRecord, Ledger
    from est_server.ports.revocation import RevocationEvent, Selection

Reason = Literal[
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
]
_LONGEST_NOTE = 1000

SerialArgument = Annotated[
    str | None, typer.Argument(metavar="[SERIAL]", help="Serial number in hexadecimal.")
]
CaOption = Annotated[str | None, typer.Option(help="Where two CAs have the serial number.")]
DeviceOption = Annotated[str | None, typer.Option(metavar="ID", help="All of this device.")]
ProfileOption = Annotated[str | None, typer.Option(help="All of this profile.")]
BetweenOption = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="FROM TO", help="All issued in between; TO is not included."),
]
NoteOption = Annotated[str, typer.Option(help="Why, in your own words; kept with the event.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Count what matches, change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Whatever their number is.")]
CountOption = Annotated[
    int | None, typer.Option(min=0, help="Go on only if exactly so many match.")
]


def revoke(
    serial: SerialArgument = None,
    reason: Annotated[Reason, typer.Option(help="RFC 5280 5.3.1.")] = "unspecified",
    device: DeviceOption = None,
    profile: ProfileOption = None,
    issued_between: BetweenOption = None,
    ca: CaOption = None,
    invalidity_date: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Since when the key is known or suspected to be bad."),
    ] = None,
    note: NoteOption = "",
    dry_run: DryOption = False,
    yes: YesOption = False,
    count: CountOption = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Revoke certificates: one by its serial number, or all that match.

    Expired ones can be revoked too. certificateHold can be taken back with `cert release`; a key
    that was revoked for keyCompromise never gets a certificate again. A run over many that was cut
    off is started again with the same options: what is done stays done.

    JSON: for one certificate {"sequence", "ca", "serial", "action", "reason", "revoked_at",
    "invalidity_date", "at", "actor", "note"}; for many {"action", "matched", "changed",
    "dry_run", "last_sequence"}.

    Example: est-server cert revoke --device SN-0001 --reason keyCompromise --count 2
    """
    from est_server.ports.revocation import Revocation

    invalid = None if invalidity_date is None else moment(invalidity_date, "--invalidity-date")
    wanted = _Wanted(serial, device, profile, issued_between, ca, note, output)

    def order(found: CertificateRecord, now: datetime) -> Revocation:
        return Revocation(found.ca, found.serial_number, reason, now, operator(), invalid, note)

    may: Any = "hold" if reason == "certificateHold" else "revoke"
    asyncio.run(_carry_out(wanted, may, order, config, dry_run=dry_run, yes=yes, count=count))


def release(
    serial: SerialArgument = None,
    device: DeviceOption = None,
    profile: ProfileOption = None,
    issued_between: BetweenOption = None,
    ca: CaOption = None,
    note: NoteOption = "",
    dry_run: DryOption = False,
    yes: YesOption = False,
    count: CountOption = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Take certificates off hold: one by its serial number, or all that match.

    JSON: as `cert revoke`. Example: est-server cert release 4f0a… --note "found again"
    """
    from est_server.ports.revocation import Release

    wanted = _Wanted(serial, device, profile, issued_between, ca, note, output)

    def order(found: CertificateRecord, now: datetime) -> Release:
        return Release(found.ca, found.serial_number, now, operator(), note)

    asyncio.run(_carry_out(wanted, "release", order, config, dry_run=dry_run, yes=yes, count=count))


class _Wanted:
    """Which certificates, and how to tell."""

    def __init__(
        self,
        serial: str | None,
        device: str | None,
        profile: str | None,
        between: tuple[str, str] | None,
        ca: str | None,
        note: str,
        output: str,
    ) -> None:
        many = device is not None or profile is not None or between is not None
        if many == (serial is not None):
            text = "give a serial number, or one or more of --device, --profile, --issued-between"
            raise typer.BadParameter(text, param_hint="SERIAL")
        if many and ca is not None:
            raise typer.BadParameter("goes with a serial number only", param_hint="--ca")
        if len(note) > _LONGEST_NOTE or not note.isprintable():
            text = f"at most {_LONGEST_NOTE} printable characters"
            raise typer.BadParameter(text, param_hint="--note")
        self.serial, self.device, self.profile, self.ca = serial, device, profile, ca
        self.between = between and tuple(moment(time, "--issued-between") for time in between)
        self.output = output

    def selection(self, may: Literal["revoke", "hold", "release"]) -> Selection:
        from est_server.ports.revocation import Selection

        begin, end = self.between or (None, None)
        return Selection(may, self.device, self.profile, begin, end)


async def _carry_out(
    wanted: _Wanted,
    may: Literal["revoke", "hold", "release"],
    order: Callable[[CertificateRecord, datetime], Any],
    config: Path,
    *,
    dry_run: bool,
    yes: bool,
    count: int | None,
) -> None:
    from est_server.app.clock import system_clock

    async with opened(config) as (configuration, ledger):
        give: Any = ledger.revocations.release if may == "release" else ledger.revocations.revoke
        if wanted.serial is not None:
            found = await _one(ledger, wanted.serial, wanted.ca)
            if dry_run:
                show(wanted.output, _summary(may, 1, 0, None, dry_run=True))
                return
            (event,) = await give([order(found, system_clock())])
            await _wake(configuration)
            show(wanted.output, event_dict(event))
            return
        selection = wanted.selection(may)
        matched = await ledger.revocations.count_selected(selection)
        if dry_run:
            show(wanted.output, _summary(may, matched, 0, None, dry_run=True))
            return
        _confirm(may, matched, yes=yes, count=count)
        from est_server.revocation.bulk import in_batches

        changed = 0
        with bar("certificates", matched) as advance:
            async for done in in_batches(
                ledger.revocations, selection, lambda found: order(found, system_clock()), give
            ):
                changed += done
                advance(done)
        await _wake(configuration)
        last = await ledger.revocations.last_event()
        sequence = None if last is None else last.sequence
        show(wanted.output, _summary(may, matched, changed, sequence, dry_run=False))


async def _wake(configuration: Configuration) -> None:
    """Let servers look at once; those that are not reached do a moment later."""
    from est_server.app.parts import ready_ephemeral
    from est_server.errors import BackendUnavailable
    from est_server.ports.ephemeral import REVOCATIONS

    try:
        ephemeral = ready_ephemeral(configuration)
    except BackendUnavailable:
        return  # what was asked for is done
    await ephemeral.notify(REVOCATIONS)
    await ephemeral.close()


async def _one(ledger: Ledger, text: str, ca: str | None) -> CertificateRecord:
    from est_server.cli.cert import by_serial
    from est_server.errors import Conflict

    found = await by_serial(ledger, text, ca)
    if len(found) > 1:
        names = ", ".join(sorted(one.ca for one in found))
        hint = "say which with --ca"
        raise Conflict("serial.ambiguous", f"serial {text} is of CAs {names}", hint=hint)
    return found[0]


def _confirm(may: str, matched: int, *, yes: bool, count: int | None) -> None:
    from est_server.errors import Conflict

    if count is not None:
        if count != matched:
            text = f"{matched} certificates match, not {count}; nothing was changed"
            hint = "look again with --dry-run; after a run that was cut off, fewer are left"
            raise Conflict("revocation.count", text, hint=hint)
        return
    if yes or not matched:
        return
    if not sys.stdin.isatty():
        hint = f"confirm with --count {matched}, or --yes"
        text = f"{matched} certificates match; nothing was changed"
        raise Conflict("revocation.unconfirmed", text, hint=hint)
    if typer.prompt(f"{may} how many certificates? {matched} match; type the number") != str(
        matched
    ):
        raise Conflict("revocation.unconfirmed", "nothing was changed")


def event_dict(event: RevocationEvent) -> dict[str, Any]:
    """Return an event in JSON's types."""
    return {
        "sequence": event.sequence,
        "ca": event.ca,
        "serial": f"{event.serial_number:x}",
        "action": event.action,
        "reason": event.reason,
        "revoked_at": iso(event.revoked_at),
        "invalidity_date": iso(event.invalidity_date),
        "at": iso(event.at),
        "actor": event.actor,
        "note": event.note,
    }


def _summary(
    may: str, matched: int, changed: int, sequence: int | None, *, dry_run: bool
) -> dict[str, Any]:
    return {
        "action": may,
        "matched": matched,
        "changed": changed,
        "dry_run": dry_run,
        "last_sequence": sequence,
    }
