"""CA backends and verifiers, found by entry point and never imported by name."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

    from est_server.ports.ca import Backend
    from est_server.ports.verifier import Verifier

GROUP = "est_server.backends"
VERIFIERS = "est_server.verifiers"


class BackendUnusableError(Exception):
    """A backend or a verifier can't be had.

    Attributes:
        code: E209 or E210.
        hint: what to do.
    """

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def installed(group: str = GROUP) -> tuple[EntryPoint, ...]:
    """Return the entry points of everything that is installed in a group."""
    return tuple(entry_points(group=group))


def find_backend(name: str, points: Iterable[EntryPoint]) -> Backend:
    """Return the backend of this name, loaded.

    Args:
        name: as server.yaml has it.
        points: what is installed.

    Raises:
        BackendUnusableError: E210 without one or with two that differ; E209 if it can't be loaded.
    """
    return cast("Backend", _found("backend", name, points))


def find_verifier(name: str, points: Iterable[EntryPoint]) -> Verifier:
    """Return the verifier of this name, loaded.

    Args:
        name: as policies have it.
        points: what is installed.

    Raises:
        BackendUnusableError: as in `find_backend`.
    """
    return cast("Verifier", _found("verifier", name, points))


def _found(kind: str, name: str, points: Iterable[EntryPoint]) -> object:
    points = tuple(points)
    fitting = {point.value: point for point in points if point.name == name}
    if not fitting:
        names = ", ".join(sorted({point.name for point in points})) or "none"
        raise BackendUnusableError(
            "E210", f"no {kind} {name!r} is installed", f"installed: {names}"
        )
    if len(fitting) > 1:
        raise BackendUnusableError(
            "E210",
            f"{kind} {name!r} is installed {len(fitting)} times",
            f"uninstall all but one of {', '.join(sorted(fitting))}",
        )
    ((_, point),) = fitting.items()
    try:
        found = point.load()
    except ImportError as error:
        text = f"{kind} {name!r} can't be loaded: {error}"
        raise BackendUnusableError("E209", text, _install(point, error)) from error
    except Exception as error:
        raise BackendUnusableError(
            "E210", f"{kind} {name!r} can't be loaded: {error}", f"it comes from {point.value}"
        ) from error
    made: object = found() if isinstance(found, type) else found
    return made


def _install(point: EntryPoint, error: ImportError) -> str:
    """Return the command that brings what a module imports."""
    package = point.dist.name if point.dist is not None else "est-server"
    if point.extras:
        return f"pip install '{package}[{','.join(point.extras)}]'"
    extras = [] if point.dist is None else point.dist.metadata.get_all("Provides-Extra") or []
    # aws_pca needs the extra aws-pca, or aws
    name = point.name.replace("_", "-")
    fitting = [extra for extra in extras if f"{name}-".startswith(f"{extra}-")]
    if fitting or not extras:
        return f"pip install '{package}[{max(fitting, key=len, default=point.name)}]'"
    missing = error.name.partition(".")[0] if error.name else None
    return f"pip install {missing or package}"
