"""Puts the cases to a server and keeps what came of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

# each module declares its cases when it is imported; the order is that of the table
from interop.conformance import (  # noqa: F401
    authentication,
    cacerts,
    csrattrs,
    enroll_answer,
    enroll_input,
    keygen,
    possession,
    reenroll,
    tls,
    uri_and_http,
)
from interop.conformance.case import CASES, Case, Failed, NotApplicable
from interop.conformance.target import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from interop.conformance.connection import Exchange, Version
    from interop.conformance.target import Options

State = Literal["pass", "fail", "n/a"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case over one TLS version.

    Attributes:
        case: the case.
        version: of TLS.
        state: what came of it.
        detail: why it failed or could not be put.
        exchanges: what was sent and received, by connection.
    """

    case: Case
    version: Version
    state: State
    detail: str
    exchanges: tuple[Exchange, ...]


def cases(only: Collection[str] = ()) -> list[Case]:
    """Return the cases by number, or those whose number or name is in `only`."""
    chosen = [found for found in CASES if not only or {str(found.number), found.name} & {*only}]
    return sorted(chosen, key=lambda found: found.number)


def run(options: Options, versions: Iterable[Version], chosen: Iterable[Case]) -> Iterator[Outcome]:
    """Put every case to the server over every version, one after another."""
    chosen = tuple(chosen)
    for version in versions:
        target = Target(options, version)
        for one in chosen:
            yield put(one, target)


def put(one: Case, target: Target) -> Outcome:
    """Put one case to the server."""
    target.forget()
    state: State = "pass"
    detail = ""
    try:
        one.check(target)
    except NotApplicable as reason:
        state, detail = "n/a", str(reason)
    except Failed as problem:
        state, detail = "fail", str(problem)
    except Exception as error:  # noqa: BLE001 - whatever a server sends that can't be read
        state, detail = "fail", f"{type(error).__name__}: {error}"
    return Outcome(one, target.version, state, detail, tuple(target.exchanges))
