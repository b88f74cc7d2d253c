"""Outcomes as a table by section of the RFC, as JSON and as JUnit."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interop.conformance.connection import Exchange
    from interop.conformance.run import Outcome

_LONGEST_SHOWN = 4096
_HEAVY = str.maketrans(dict.fromkeys(range(32), " "))


def table(outcomes: Sequence[Outcome], *, verbose: bool) -> Iterator[str]:
    """Yield the lines of a table by section, the counts last.

    Args:
        outcomes: what to tell.
        verbose: also the octets of each failure.
    """
    clauses = sorted({found.case.clause for found in outcomes}, key=_by_section)
    for clause in clauses:
        yield clause
        for found in sorted(
            (one for one in outcomes if one.case.clause == clause),
            key=lambda one: (one.case.number, one.version),
        ):
            state = "FAIL" if found.state == "fail" else found.state
            case = found.case
            yield f"  {state:<4}  {case.number:>3}  TLS {found.version}  {case.title}"
            if found.detail:
                level = f" [{case.level}]" if found.state == "fail" else ""
                yield f"             {found.detail.translate(_HEAVY)}{level}"
            if verbose and found.state == "fail":
                for exchange in found.exchanges:
                    yield from _octets(exchange)
    yield summary(outcomes)


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the counts on one line."""
    counts = Counter(found.state for found in outcomes)
    numbers = len({found.case.number for found in outcomes})
    return (
        f"{numbers} cases, {len(outcomes)} checks: {counts['pass']} pass, "
        f"{counts['fail']} fail, {counts['n/a']} not applicable"
    )


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Return everything, with the octets of each failure."""
    content = [
        {
            "case": found.case.number,
            "check": found.case.name,
            "title": found.case.title,
            "clause": found.case.clause,
            "level": found.case.level,
            "tls": found.version,
            "state": found.state,
            "detail": found.detail,
            "exchanges": [_pieces(exchange) for exchange in found.exchanges]
            if found.state == "fail"
            else [],
        }
        for found in outcomes
    ]
    counts = Counter(found.state for found in outcomes)
    states = {state: counts[state] for state in ("pass", "fail", "n/a")}
    return json.dumps({"counts": states, "outcomes": content}, indent=1)


def as_junit(outcomes: Sequence[Outcome]) -> str:
    """Return a JUnit report, one suite for each TLS version."""
    root = Element("testsuites")
    for version in sorted({found.version for found in outcomes}):
        found_here = [found for found in outcomes if found.version == version]
        counts = Counter(found.state for found in found_here)
        suite = SubElement(
            root, "testsuite", name=f"EST over TLS {version}", tests=str(len(found_here)),
            failures=str(counts["fail"]), skipped=str(counts["n/a"]),
        )  # fmt: skip
        for found in found_here:
            name = f"{found.case.number} {found.case.title}"
            test = SubElement(suite, "testcase", name=name, classname=found.case.clause)
            if found.state == "fail":
                failure = SubElement(test, "failure", message=_clean(found.detail))
                lines = (line for one in found.exchanges for line in _octets(one))
                failure.text = _clean("\n".join(lines))
            elif found.state == "n/a":
                SubElement(test, "skipped", message=_clean(found.detail))
    indent(root)
    return tostring(root, encoding="unicode")


def _by_section(clause: str) -> tuple[int, str, tuple[int, ...]]:
    _, number, *rest = clause.split(" ")
    parts = tuple(int(part) if part.isdecimal() else 0 for part in (rest or ["0"])[0].split("."))
    return (0 if number == "7030" else 1, number.rjust(6), parts)


def _pieces(exchange: Exchange) -> list[dict[str, Any]]:
    return [
        {"sent": direction == ">", "octets": octets.decode("latin-1")}
        for direction, octets in exchange.pieces
    ]


def _octets(exchange: Exchange) -> Iterator[str]:
    for direction, octets in exchange.pieces:
        for line in octets[:_LONGEST_SHOWN].splitlines(keepends=True):
            yield f"             {direction} {line!r}"
        if len(octets) > _LONGEST_SHOWN:
            yield f"             {direction} … {len(octets) - _LONGEST_SHOWN} octets more"


def _clean(text: str) -> str:
    """Return what XML can hold."""
    return "".join(mark if mark in "\n\t" or mark.isprintable() else "�" for mark in text)
