"""Results: JSON for programs; for people a table on a terminal, aligned text in a pipe."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


def show(form: str, value: Mapping[str, Any], hidden: Sequence[str] = ()) -> None:
    """Print one thing, a key a line.

    Args:
        form: table or json.
        value: keys and values in JSON's types.
        hidden: keys that people are not shown.
    """
    if form == "json":
        show_json(value)
        return
    _table(None, [(key, item) for key, item in value.items() if key not in hidden])


def show_list(form: str, values: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print many things of a kind, a line each.

    Args:
        form: table or json.
        values: keys and values in JSON's types.
        columns: the keys that people are shown, in order.
    """
    if form == "json":
        show_json(values)
        return
    header = [column.upper().replace("_", " ") for column in columns]
    _table(header, [[value[column] for column in columns] for value in values])


def show_json(value: Any) -> None:
    """Print JSON, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def iso(time: datetime | None) -> str | None:
    """Return a time as JSON has it: ISO 8601 in UTC."""
    return None if time is None else time.isoformat()


def text(value: Any) -> str:
    """Return a value for people: nothing of it can steer the terminal."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(text(item) for item in value)
        case dict():
            return ", ".join(f"{key}={text(item)}" for key, item in value.items())
    found = str(value)
    if found.isprintable():
        return found
    return "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in found)


def _table(header: Sequence[str] | None, rows: Sequence[Sequence[Any]]) -> None:
    texts = [[text(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _rich_table(header, texts)
        return
    if header is not None:
        texts.insert(0, list(header))
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _rich_table(header: Sequence[str] | None, texts: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=header is not None)
    for column in header or ("", ""):
        table.add_column(column, overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))  # as it is: brackets are no markup
    Console(highlight=False).print(table)
