"""JSON (RFC 8259) that every reader reads alike, and that can be kept.

A member twice, NaN and Infinity, and halves of surrogate pairs, which no UTF-8 can hold, are
refused; so is what is nested deeper than anything that is asked for here.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

DEEPEST = 16


def read_json(octets: bytes) -> Any:
    """Return the one value that `octets` are.

    Raises:
        ValueError: they are something else.
    """
    try:
        found = json.loads(
            octets.decode(), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_number
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    _check(found, DEEPEST)
    return found


def _check(value: Any, levels: int) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list):
        if not levels:
            raise ValueError("nested too deeply")
        for one in (*value, *value.values()) if isinstance(value, dict) else value:
            _check(one, levels - 1)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member is there twice")
    return found


def _number(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError("a number is too large")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
