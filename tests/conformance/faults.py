"""Faults of an EST server, one at a time: each breaks one rule, and a case must see it.

A fault patches the running server from inside; `broken_server.py` puts it in. Beside it stand the
checks of the kit that must fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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
        tests: file of tests -> the cases that must turn red in it.
    """

    apply: Callable[[Patch], None]
    checks: tuple[str, ...] = ()
    label: str = "interop"
    tests: dict[str, tuple[int, ...]] = field(default_factory=dict)


FAULTS: dict[str, Fault] = {}


def fault(*checks: str, label: str = "interop") -> Callable[[Any], Any]:
    """Declare a fault that these checks of the kit see."""

    def declare(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        known = FAULTS.get(apply.__name__)
        tests = known.tests if known else {}
        FAULTS[apply.__name__] = Fault(apply, checks, label, tests)
        return apply

    return declare


def mutation(file: str, *cases: int) -> Callable[[Any], Any]:
    """Declare a fault that the tests of these cases see."""

    def declare(apply: Callable[[Patch], None]) -> Callable[[Patch], None]:
        FAULTS.setdefault(apply.__name__, Fault(apply)).tests[file] = cases
        return apply

    return declare
