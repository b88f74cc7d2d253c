"""What can go wrong, in the words of the domain.

This module knows no HTTP: `est_server.web.errors` is the only place that turns a failure into a
status code. Every failure that a device can meet carries a stable `rule`, a lower-case dotted name
such as ``csr.signature``, which is what the device is told, what `why` explains and what an
operator searches for. Rules are part of the product's contract: they are never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


class EstServerError(Exception):
    """A failure with a stable rule and a text that may be shown to the device.

    Args:
        rule: stable dotted identifier, for example ``csr.signature``.
        message: one sentence for the device and the operator; it names no secret, no path and no
            internal state.
        hint: what the operator can do next; goes to the log and to `why`, never to the device.
    """

    def __init__(self, rule: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


class Malformed(EstServerError):
    """The bytes are not what the standard says they are. Nothing was changed."""


class Unauthenticated(EstServerError):
    """Nobody we know is asking. Leaves no state behind."""


class Denied(EstServerError):
    """The asker is known and may not have this; `rule` says which rule refused.

    Args:
        rule: as in `EstServerError`.
        message: as in `EstServerError`.
        hint: as in `EstServerError`.
        decision_id: the recorded decision that `why` explains.
        retry_after: whole seconds after which time alone may have changed the answer.
    """

    def __init__(
        self,
        rule: str,
        message: str,
        *,
        hint: str | None = None,
        decision_id: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(rule, message, hint=hint)
        self.decision_id = decision_id
        self.retry_after = retry_after


class Pending(EstServerError):
    """The answer needs time (RFC 7030 4.2.3).

    Args:
        rule: as in `EstServerError`.
        message: as in `EstServerError`.
        retry_after: whole seconds after which asking again makes sense.
    """

    def __init__(self, rule: str, message: str, *, retry_after: int) -> None:
        super().__init__(rule, message)
        self.retry_after = retry_after


class RateLimited(Pending):
    """Too many attempts; ask again after `retry_after` seconds."""


class Conflict(EstServerError):
    """Another request got there first, or the state changed beneath this one."""


class NotFound(EstServerError):
    """There is no such thing, under this name, here."""


class BackendRejected(EstServerError):
    """The CA understood the order and refused it, or returned something that was not ordered."""


class BackendUnavailable(EstServerError):
    """The CA or the ledger can't answer now.

    Args:
        rule: as in `EstServerError`.
        message: as in `EstServerError`.
        hint: as in `EstServerError`.
        retry_after: whole seconds after which asking again makes sense.
        nothing_issued: of a CA that was asked to issue: it is certain that it made nothing and will
            not, since the order never reached it or it said so (a refused connection, a throttled
            request). False means that a certificate may exist.
    """

    def __init__(
        self,
        rule: str,
        message: str,
        *,
        hint: str | None = None,
        retry_after: int = 60,
        nothing_issued: bool = False,
    ) -> None:
        super().__init__(rule, message, hint=hint)
        self.retry_after = retry_after
        self.nothing_issued = nothing_issued


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a configuration file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about the configuration, printed as ``file:line:column: error[E104]: …``."""

    position: Position
    code: str
    message: str
    hint: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.position}: {self.severity}[{self.code}]: {self.message}"


class ConfigurationError(Exception):
    """The configuration can't be used; carries every problem that was found, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
