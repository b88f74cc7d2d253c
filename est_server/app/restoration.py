"""What is restored, with the help of what, and what a person is told about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from est_server.config.configuration import Configuration

_MOST_NAMED = 20
Level = Literal["ok", "attention", "unexplained"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report.

    Attributes:
        what: the matter, in a word or two.
        level: ``attention``: somebody has to act or to know; ``unexplained``: must not be.
        detail: what was found.
        count: how many.
        named: the first of them.
        then: what to do next.
    """

    what: str
    level: Level
    detail: str
    count: int = 0
    named: tuple[str, ...] = ()
    then: str = ""


@dataclass(slots=True)
class Report:
    """What a restoration found and did."""

    made_at: datetime
    lines: list[Line] = field(default_factory=list)

    def add(
        self, what: str, level: Level, detail: str, found: Sequence[str] = (), then: str = ""
    ) -> None:
        """Add a line about `found`."""
        self.lines.append(Line(what, level, detail, len(found), tuple(found[:_MOST_NAMED]), then))

    @property
    def explained(self) -> bool:
        """Whether nothing in it is unexplained."""
        return all(line.level != "unexplained" for line in self.lines)


@dataclass(frozen=True, slots=True)
class Restoration:
    """What is restored, and with the help of what.

    Attributes:
        configuration: of the server whose ledger it is.
        archive: the backup.
        lists: CRLs that were fetched from where they are published, beside those in the
            directories that server.yaml names.
        log: the exported audit log; None without one.
        now: the time.
        actor: who restores.
    """

    configuration: Configuration
    archive: Path
    lists: tuple[Path, ...]
    log: Path | None
    now: datetime
    actor: str
