"""Scalars of the configuration files.

The YAML loader hands every scalar over as text, so that ``12:34:56`` is not a number and ``1.30``
keeps its zero; these types turn the text into values and say what was expected. They are
among the ports so that backends' settings read like everything else.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d|w|y)")
LONGEST = 9999
"""Years: a certificate that ends after 9999-12-31 can't be written (RFC 5280 4.1.2.5)."""

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
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST * _UNITS["y"]:
        raise ValueError(f"longer than {LONGEST}y")
    return timedelta(seconds=seconds)


def duration_text(value: timedelta) -> str:
    """Return a text that `Duration` reads as `value`: ``90d``, ``36h``, ``0s``."""
    seconds = int(value.total_seconds())
    for unit in ("d", "h", "m"):
        count, rest = divmod(seconds, _UNITS[unit])
        if count and not rest:
            return f"{count}{unit}"
    return f"{seconds}s"


def _oid(value: Any) -> Any:
    if not isinstance(value, str) or not _OID.fullmatch(value):
        raise ValueError("not an object identifier like 1.3.6.1.5.5.7.3.2")
    return value


def file_content(value: Any, info: ValidationInfo) -> bytes:
    """Return the octets of the file that a setting names, for validators of such settings.

    The context of the validation has the one who reads it, by the name ``file``; whoever validates
    without one has no files.

    Raises:
        ValueError: it can't be read.
    """
    if not isinstance(value, str) or not value:
        raise ValueError("the name of a file is expected")
    read = (info.context or {}).get("file")
    if read is None:
        raise ValueError("there are no files here")
    found: bytes = read(value)
    return found


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(duration_text, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}[smhdwy]$", "examples": ["90d"]}),
]
"""A time span such as ``90d``, ``12h`` or ``5m``."""

Oid = Annotated[
    str,
    BeforeValidator(_oid),
    WithJsonSchema({"type": "string", "pattern": r"^[0-2](\.[0-9]+)+$"}),
]
"""An object identifier in dotted form."""
