"""What `follow` says: how it stands on a terminal, what fails in a pipe, JSON to programs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from est_server.app.clock import system_clock
from est_server.cli.output import iso, text
from est_server.errors import EstServerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.status import Status

    from est_server.ports.crl import CrlKind
    from est_server.revocation.gateway import Copy


@dataclass(slots=True)
class Told:
    """Says what happens, each thing once.

    Attributes:
        form: table or json.
        connected: whether events arrive.
    """

    form: str
    connected: bool = False
    _wrong: dict[str, str] = field(default_factory=dict)
    _status: Status | None = None

    def __post_init__(self) -> None:
        if self.form != "json" and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True, highlight=False).status("")
            self._status.start()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._status is not None:
            self._status.stop()

    def problem(self, about: str, error: EstServerError | OSError) -> None:
        """Say that something fails, unless that was said already."""
        told, hint = str(error), getattr(error, "hint", None)
        if self._wrong.get(about) == told:
            return
        self._wrong[about] = told
        self._line(f"{about}: {told}" + (f"\n   hint: {hint}" if hint else ""), "warning: ")

    def well(self, about: str) -> None:
        """Say that what failed works again."""
        if self._wrong.pop(about, None) is not None:
            self._line(f"{about}: works again", "")

    def replaced(self, target: Path, copies: Mapping[tuple[str, CrlKind], Copy]) -> None:
        """Say that the file was replaced."""
        if self.form == "json":
            lists = [_list(ca, kind, copy) for (ca, kind), copy in copies.items()]
            value = {"file": str(target), "at": iso(system_clock()), "lists": lists}
            print(json.dumps(value), flush=True)
        elif self._status is not None:
            self._line(f"{system_clock():%F %TZ} {target} replaced: {_numbers(copies)}", "")

    def status(self, copies: Mapping[tuple[str, CrlKind], Copy], seconds: float) -> None:
        """Show how it stands, on a terminal."""
        if self._status is not None:
            feed = "following" if self.connected else "not connected"
            wrong = f" · {len(self._wrong)} failing" if self._wrong else ""
            self._status.update(
                f"{feed} · {_numbers(copies)} · next look in {seconds:.0f} s{wrong}"
            )

    def _line(self, words: str, lead: str) -> None:
        safe = "\n".join(map(text, words.split("\n")))
        if self._status is not None:
            self._status.console.print(f"{lead}{safe}", markup=False)
        else:
            print(f"{lead}{safe}", file=sys.stderr, flush=True)


def _numbers(copies: Mapping[tuple[str, CrlKind], Copy]) -> str:
    return ", ".join(f"{ca} {kind} {copy.crl.number}" for (ca, kind), copy in copies.items())


def _list(ca: str, kind: str, copy: Copy) -> dict[str, Any]:
    return {
        "ca": ca,
        "kind": kind,
        "number": copy.crl.number,
        "this_update": iso(copy.crl.this_update),
        "next_update": iso(copy.crl.next_update),
        "size": len(copy.der),
    }
