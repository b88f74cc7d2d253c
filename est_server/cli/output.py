"""What commands share: the configuration option, output as table or JSON, exit codes."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence

    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import Ledger

ConfigOption = Annotated[
    Path,
    typer.Option(
        "-c",
        "--config",
        envvar="EST_SERVER_CONFIG",
        help="server.yaml",
        show_default=True,
    ),
]
OutputOption = Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="form")]
SERVER_YAML = Path("server.yaml")

REFUSED, USAGE, INVALID_CONFIGURATION, UNAVAILABLE = 1, 2, 3, 4


@contextmanager
def fail_on_known_errors() -> Iterator[None]:
    """Turn the taxonomy into a message and an exit code; anything else is a bug and a traceback."""
    from est_server.errors import BackendUnavailable, ConfigurationError, EstServerError

    try:
        yield
    except ConfigurationError as error:
        show_problems(error.problems)
        sys.exit(INVALID_CONFIGURATION)
    except EstServerError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"   hint: {error.hint}", file=sys.stderr)
        sys.exit(UNAVAILABLE if isinstance(error, BackendUnavailable) else REFUSED)


def show_problems(problems: Sequence[Any]) -> None:
    """Print every problem with its line and a caret, and how many there are."""
    from est_server.config.problems import render

    sources: dict[str, str] = {}
    for file in {problem.position.file for problem in problems}:
        if Path(file).is_file():
            sources[file] = Path(file).read_text(encoding="utf-8", errors="replace")
    print(render(problems, sources), file=sys.stderr)
    errors = sum(problem.severity == "error" for problem in problems)
    print(f"{len(problems)} problems ({errors} errors)", file=sys.stderr)


@asynccontextmanager
async def opened(config: Path) -> AsyncIterator[tuple[Configuration, Ledger]]:
    """Load the configuration and open its ledger."""
    from est_server.app import ready_ledger
    from est_server.config.configuration import load

    configuration = load(config)
    ledger = ready_ledger(configuration, migrate=False)
    try:
        yield configuration, ledger
    finally:
        await ledger.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a command's coroutine."""
    return asyncio.run(work)


def show(output: str, value: Any, rows: Sequence[Sequence[Any]] | None = None) -> None:
    """Print `value` as JSON, or `rows` (the first is the header) aligned for people."""
    if output == "json":
        print(json.dumps(value, indent=2, ensure_ascii=False, default=str))
        return
    if rows is None:
        rows = [(key, "" if item is None else item) for key, item in value.items()]
    texts = [[str("" if cell is None else cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
