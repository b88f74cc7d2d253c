"""CA backends, found by entry point and never imported by name."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

    from est_server.ports.ca import Backend

GROUP = "est_server.backends"


class BackendUnusableError(Exception):
    """A backend can't be had.

    Attributes:
        code: E209 or E210.
        hint: what to do.
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def installed() -> tuple[EntryPoint, ...]:
    """Return the entry points of every backend that is installed."""
    return tuple(entry_points(group=GROUP))


def find_backend(name: str, points: Iterable[EntryPoint]) -> Backend:
    """Return the backend of this name, loaded.

    Args:
        name: as server.yaml has it.
        points: what is installed.

    Raises:
        BackendUnusableError: E210 without one or with two that differ; E209 if it can't be loaded.
    """
    points = tuple(points)
    fitting = {point.value: point for point in points if point.name == name}
    if not fitting:
        names = ", ".join(sorted({point.name for point in points})) or "none"
        raise BackendUnusableError(
            "E210", f"no backend {name!r} is installed", f"installed: {names}"
        )
    if len(fitting) > 1:
        raise BackendUnusableError(
            "E210",
            f"backend {name!r} is installed {len(fitting)} times",
            f"uninstall all but one of {', '.join(sorted(fitting))}",
        )
    ((_, point),) = fitting.items()
    try:
        found = point.load()
    except ImportError as error:
        package = point.dist.name if point.dist is not None else "est-server"
        raise BackendUnusableError(
            "E209",
            f"backend {name!r} can't be loaded: {error}",
            f"pip install '{package}[{name}]'",
        ) from error
    except Exception as error:
        raise BackendUnusableError(
            "E210", f"backend {name!r} can't be loaded: {error}", f"it comes from {point.value}"
        ) from error
    return cast("Backend", found() if isinstance(found, type) else found)
