"""Exit codes, and the one place that turns a failure into one.

With ``-o json`` a failure is a JSON object on stderr: ``{"error": rule, "message", "hint"}``, for
an invalid configuration ``{"error": "config.invalid", "message", "problems": [{"file", "line",
"column", "severity", "code", "message", "hint"}]}``.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from est_server.errors import Problem

OK, REFUSED, USAGE, INVALID_CONFIGURATION, UNAVAILABLE = range(5)

NOBODY_READS = 141
"""128 + SIGPIPE: what a shell says of a program whose output nobody reads any more."""

FORM = "est_server.output"
"""Where the context's `meta` keeps what ``-o`` said."""


def report(error: Exception, meta: Mapping[str, Any]) -> int | None:
    """Print a failure that is known and return its exit code; None for any other, a bug.

    Args:
        error: what a command raised.
        meta: of the command's context.
    """
    from est_server.errors import (
        BackendUnavailable,
        ConfigurationError,
        EstServerError,
        Pending,
    )

    as_json = meta.get(FORM) == "json"
    match error:
        case ConfigurationError():
            if as_json:
                show_problems_as_json(error.problems)
            else:
                show_problems(error.problems)
            return INVALID_CONFIGURATION
        case EstServerError():
            _print(error.rule, error.message, error.hint, as_json=as_json)
            later = isinstance(error, BackendUnavailable | Pending)
            return UNAVAILABLE if later else REFUSED
        case BrokenPipeError():
            # ``| head`` has seen enough; what is still to be written at the exit goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOBODY_READS
        case OSError():
            about = f"{error.filename}: " if error.filename else ""
            _print("system", f"{about}{error.strerror or error}", None, as_json=as_json)
            return REFUSED
    return None


def show_problems(problems: Sequence[Problem]) -> None:
    """Print every problem with its line and a caret, then how many there are."""
    from est_server.config.problems import read_sources, render, summary

    print(render(problems, read_sources(problems, {})), file=sys.stderr)
    print(summary(problems), file=sys.stderr)


def show_problems_as_json(problems: Sequence[Problem]) -> None:
    """Print every problem as one JSON object."""
    from est_server.config.problems import as_dict, summary

    value = {
        "error": "config.invalid",
        "message": summary(problems),
        "problems": [as_dict(problem) for problem in problems],
    }
    print(json.dumps(value, indent=2, ensure_ascii=False), file=sys.stderr)


def _print(rule: str, message: str, hint: str | None, *, as_json: bool) -> None:
    if as_json:
        value = {"error": rule, "message": message, "hint": hint}
        print(json.dumps(value, ensure_ascii=False), file=sys.stderr)
        return
    print(f"error: {rule}: {message}", file=sys.stderr)
    if hint:
        print(f"   hint: {hint}", file=sys.stderr)
