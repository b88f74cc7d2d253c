"""Backend by case, after a run: ``pytest -p est_server.testing.table --ca-table``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from est_server.testing.world import CASES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

SHOWN, IMPOSSIBLE = "yes", "-"
_FAILED = "FAIL"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--ca-table``."""
    parser.addoption(
        "--ca-table", action="store_true", help="print which CA backends show which cases"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect outcomes where the table is wanted."""
    if config.getoption("--ca-table"):
        config.pluginmanager.register(_Table(), "ca-table")


class _Table:
    """Outcomes of the tests of `CaContract`."""

    def __init__(self) -> None:
        self._outcomes: dict[str, dict[str, str]] = {}
        self._reasons: dict[tuple[str, str], list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one outcome in."""
        for name, value in report.user_properties:
            if name != "ca-case" or not isinstance(value, list):
                continue
            backend, case, reason = value
            outcomes = self._outcomes.setdefault(backend, {})
            if report.failed:
                outcomes[case] = _FAILED
            elif report.when == "call":
                outcomes.setdefault(case, SHOWN if reason is None else IMPOSSIBLE)
                if reason is not None:
                    self._reasons.setdefault((case, reason), []).append(backend)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table, then why some cases can't happen."""
        terminalreporter.write_line("")
        for line in table(self._outcomes, self._reasons):
            terminalreporter.write_line(line)


def table(
    outcomes: Mapping[str, Mapping[str, str]], reasons: Mapping[tuple[str, str], Sequence[str]]
) -> list[str]:
    """Return the lines of a table in Markdown, aligned for terminals as well.

    Args:
        outcomes: backend -> case -> what stands in the cell.
        reasons: case and why it can't happen -> backends.
    """
    backends = sorted(outcomes)
    rows = [["case", *backends], ["---"] * (len(backends) + 1)]
    rows += [[case, *(outcomes[name].get(case, "not run") for name in backends)] for case in CASES]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    grouped: dict[tuple[str, str], list[str]] = {}
    for case in CASES:
        for (found, why), names in reasons.items():
            if found == case:
                grouped.setdefault((", ".join(sorted(names)), why), []).append(case)
    because = sorted(
        f"- {names}: {', '.join(cases)}: {why}" for (names, why), cases in grouped.items()
    )
    return [*lines, "", *because]
