"""A case, its requirement, and how its outcome is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from interop.conformance.target import Target

Level = Literal["must", "should", "interop"]
"""What the standard says, or what deployed clients need where it leaves the choice open."""


class Failed(Exception):
    """The server does not do what the case asks for."""


class NotApplicable(Exception):
    """The case can't be put to this server, or not with these arguments."""


@dataclass(frozen=True, slots=True)
class Case:
    """One numbered case.

    Attributes:
        number: as in the project's list of cases; two checks may share one.
        title: one line.
        clause: where the requirement stands, such as ``RFC 7030 4.1.3``.
        level: how binding it is.
        check: raises `Failed` or `NotApplicable`, or returns.
    """

    number: int
    title: str
    clause: str
    level: Level
    check: Callable[[Target], None]

    @property
    def name(self) -> str:
        """The check's name, unique among the cases."""
        return self.check.__name__


CASES: list[Case] = []
"""Every case, in the order in which the modules declare them."""


def case(
    number: int, clause: str, level: Level = "must"
) -> Callable[[Callable[[Target], None]], Callable[[Target], None]]:
    """Declare a check; its docstring's first line is the case's title."""

    def declare(check: Callable[[Target], None]) -> Callable[[Target], None]:
        title = (check.__doc__ or "").partition("\n")[0].rstrip(".")
        CASES.append(Case(number, title, clause, level, check))
        return check

    return declare


def require(holds: object, problem: str) -> None:
    """Fail with `problem` unless `holds`."""
    if not holds:
        raise Failed(problem)


def skip(reason: str) -> NoReturn:
    """Say why the case can't be put."""
    raise NotApplicable(reason)
