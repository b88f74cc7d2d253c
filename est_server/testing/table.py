"""Backend by case, after a run: ``pytest -p est_server.testing.table --ca-table``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from est_server.testing.world import CASES

if TYPE_CHECKING:
    import pytest

_SHOWN, _IMPOSSIBLE, _FAILED = "yes", "-", "FAIL"


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
                outcomes.setdefault(case, _SHOWN if reason is None else _IMPOSSIBLE)
                if reason is not None:
                    self._reasons.setdefault((case, reason), []).append(backend)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table, then why some cases can't happen."""
        for line in self._lines():
            terminalreporter.write_line(line)

    def _lines(self) -> list[str]:
        backends = sorted(self._outcomes)
        width = max(map(len, CASES)) + 2
        columns = [max(len(backend), len(_FAILED)) + 2 for backend in backends]
        lines = [
            "",
            "case".ljust(width)
            + "".join(name.ljust(size) for name, size in zip(backends, columns, strict=True)),
        ]
        for case in CASES:
            cells = (self._outcomes[backend].get(case, "not run") for backend in backends)
            row = "".join(cell.ljust(size) for cell, size in zip(cells, columns, strict=True))
            lines.append(case.ljust(width) + row)
        found = sorted(self._reasons.items())
        lines += [f"- {case}: {', '.join(names)}: {why}" for (case, why), names in found]
        return lines
