"""What commands share: the configuration, the form of the output, durations."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from est_server.cli.exit import FORM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime, timedelta

    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import Ledger

SERVER_YAML = Path("server.yaml")
Form = Literal["table", "json"]


def _remember(context: typer.Context, value: str) -> str:
    context.meta[FORM] = value
    return value


ConfigOption = Annotated[
    Path,
    typer.Option(
        "-c", "--config", envvar="EST_SERVER_CONFIG", metavar="FILE", help="The server.yaml to use."
    ),
]
OutputOption = Annotated[
    Form, typer.Option("-o", "--output", callback=_remember, help="For people, or for programs.")
]


@asynccontextmanager
async def opened(config: Path) -> AsyncIterator[tuple[Configuration, Ledger]]:
    """Load the configuration and open its ledger until the block ends.

    Raises:
        ConfigurationError: with every problem of every file.
        BackendUnavailable: the ledger is not there, or its schema is another release's.
    """
    from est_server.app.parts import ready_ledger
    from est_server.cli.operator import operator
    from est_server.config.configuration import load

    configuration = load(config)
    ledger = ready_ledger(configuration, migrate=False, actor=operator())
    try:
        yield configuration, ledger
    finally:
        await ledger.close()


def duration(text: str, option: str) -> timedelta:
    """Return what ``7d`` means.

    Raises:
        BadParameter: it is no duration.
    """
    from pydantic import TypeAdapter, ValidationError

    from est_server.ports.scalars import Duration

    try:
        found: timedelta = TypeAdapter(Duration).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter("write a duration like 7d or 12h", param_hint=option) from error
    return found


def moment(text: str, option: str) -> datetime:
    """Return an ISO 8601 time; without an offset it is UTC.

    Raises:
        BadParameter: it is no time.
    """
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("write 2026-11-24T12:00:00Z", param_hint=option) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def pairs(items: list[str] | None, option: str) -> dict[str, str]:
    """Return what ``name=value`` options say.

    Raises:
        BadParameter: one has no name or no equals sign, or a name comes twice.
    """
    found: dict[str, str] = {}
    for item in items or []:
        name, equals, value = item.partition("=")
        if not name or not equals or name in found:
            raise typer.BadParameter(f"{item!r} is not a new name=value", param_hint=option)
        found[name] = value
    return found
