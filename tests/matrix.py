"""Which conformance cases pass, fail and wait, after a run: `pytest --matrix`."""

from __future__ import annotations

import json
from pathlib import Path

from cases import MISSING, WAITING, sections, waiting

PASS, FAIL, SKIP, WAIT, NONE = "pass", "FAIL", "skipped", "waiting", "NOT RUN"


class Matrix:
    """Collects the outcome of every test that is tagged with `case`."""

    def __init__(self, *, shown: bool, only: list[int], file: str | None) -> None:
        self._shown = shown
        self._only = {*only}
        self._file = file
        self._outcomes: dict[int, dict[str, set[str]]] = {}

    def pytest_collection_modifyitems(self, config, items):
        for item in [*items]:
            numbers = [number for mark in item.iter_markers("case") for number in mark.args]
            if numbers:  # travels with the report, also from another process
                item.user_properties.append(("cases", sorted(set(numbers))))
            if self._only and not self._only & {*numbers}:
                items.remove(item)
                config.hook.pytest_deselected(items=[item])

    def pytest_runtest_logreport(self, report):
        if report.outcome == "passed" and report.when != "call":
            return
        for name, numbers in report.user_properties:
            for number in numbers if name == "cases" else ():
                outcomes = self._outcomes.setdefault(number, {})
                outcomes.setdefault(report.outcome, set()).add(report.nodeid)

    def pytest_sessionfinish(self):
        if self._file:
            found = {number: sorted(outcomes) for number, outcomes in self._outcomes.items()}
            Path(self._file).write_text(json.dumps(found))

    def pytest_terminal_summary(self, terminalreporter):
        if self._shown:
            for line in self._lines():
                terminalreporter.write_line(line)

    def _lines(self):
        reasons = {**waiting(WAITING), **waiting(MISSING)}
        total: dict[str, int] = {}
        yield ""
        for section in sections():
            states = {number: self._state(number, reasons) for number in section.cases}
            yield f"{section.letter}  {section.title}: {_count(states.values())}"
            for number, state in states.items():
                total[state] = total.get(state, 0) + 1
                if state != PASS:
                    yield f"     {number:>3} {state:<8} {section.cases[number]}"
                for why in self._why(number, state, reasons):
                    yield f"         {why}"
        yield f"total: {', '.join(f'{count} {state}' for state, count in sorted(total.items()))}"

    def _state(self, number, reasons):
        outcomes = self._outcomes.get(number, {})
        if "failed" in outcomes:
            return FAIL
        if "passed" in outcomes:
            return PASS
        if number in reasons:
            return WAIT
        return SKIP if outcomes else NONE

    def _why(self, number, state, reasons):
        if state == WAIT:
            return [reasons[number]]
        if state == FAIL:
            return sorted(self._outcomes[number]["failed"])
        return sorted(self._outcomes[number]["skipped"]) if state == SKIP else []


def _count(states):
    states = list(states)
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
