"""Faults of an EST server, one at a time: each breaks one rule, and a case must see it.

A fault patches the running server from inside; `broken_server.py` puts it in. Beside it stand the
checks of the kit that must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Patch = Callable[[Any, str, Any], None]
"""Replaces an attribute of a module or class for as long as the fault is in."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule.

    Attributes:
        checks: names of the kit's checks that must fail.
        label: where they are put.
        apply: patches the server.
    """

    checks: tuple[str, ...]
    label: str
    apply: Callable[[Patch], None]


FAULTS: dict[str, Fault] = {}


def fault(*checks: str, label: str = "interop") -> Callable[[Any], Any]:
    def declare(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        FAULTS[apply.__name__] = Fault(checks, label, apply)
        return apply

    return declare
