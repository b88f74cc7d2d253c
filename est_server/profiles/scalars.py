"""Scalars of the configuration files.

The YAML loader hands every scalar over as text, so that ``12:34:56`` is not a number and ``1.30``
keeps its zero; these types turn the text into values and say what was expected.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w|y)")
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,18})){1,30}")


class Strict(BaseModel):
    """The base of every configuration model: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("not a duration: a whole number and a unit (s, m, h, d, w, y), like 90d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _oid(value: Any) -> Any:
    if not isinstance(value, str) or not _OID.fullmatch(value):
        raise ValueError("not an object identifier like 1.3.6.1.5.5.7.3.2")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}[smhdwy]$", "examples": ["90d"]}),
]
"""A time span such as ``90d``, ``12h`` or ``5m``."""

Oid = Annotated[
    str,
    BeforeValidator(_oid),
    WithJsonSchema({"type": "string", "pattern": r"^[0-2](\.[0-9]+)+$"}),
]
"""An object identifier in dotted form."""
