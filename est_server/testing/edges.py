"""The places where a process can die: before and after everything that lasts."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LEDGER = (
    "reserve", "reserve_and_record", "record", "settle", "presume",
)  # fmt: skip
ORDERS = ("prepare", "wait", "ask", "park", "take", "record", "reject", "keep")
REVOCATIONS = ("revoke",)
UPSTREAM = ("advance",)
AUTHORITY = ("prepare", "issue", "find", "revoke")


@dataclass(slots=True)
class Edges:
    """Counts the edges that a process passes, and kills it at one.

    Attributes:
        fatal: the edge at which to die; 0 for none.
        passed: how many were passed.
    """

    fatal: int
    passed: int = 0

    def edge(self) -> None:
        """Pass an edge, or die."""
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(
        self, target: Any, methods: tuple[str, ...], parts: Mapping[str, Any] | None = None
    ) -> Any:
        """Return `target` with an edge before and after each of its `methods`.

        Args:
            target: a port's adapter.
            methods: asynchronous ones.
            parts: attributes to put in place of its own.
        """
        return _Edged(target, frozenset(methods), parts or {}, self)


class _Edged:
    def __init__(
        self, target: Any, methods: frozenset[str], parts: Mapping[str, Any], edges: Edges
    ) -> None:
        self._target, self._methods, self._parts, self._edges = target, methods, parts, edges

    def __getattr__(self, name: str) -> Any:
        if name in self._parts:
            return self._parts[name]
        found = getattr(self._target, name)
        if name not in self._methods:
            return found

        async def called(*args: Any, **options: Any) -> Any:
            self._edges.edge()
            result = await found(*args, **options)
            self._edges.edge()
            return result

        return called
