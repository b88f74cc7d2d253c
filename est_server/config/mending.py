"""A file that is not well formed, mended so far that the rest of it can be checked too.

A mistake of form must not hide what else is wrong: whoever edits a profile wants to hear of
everything at once. What the model does not take is left out of a copy, or gets a stand-in where
the model can't do without. Nothing of it runs, and nothing is said about what was changed.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from est_server.config.validate import errors_of, keys_of, written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

    from est_server.profiles.profile import ConfigPath

Model = TypeVar("Model", bound=BaseModel)

PROFILE_STAND_INS: Mapping[tuple[str, ...], Any] = {
    ("version",): "1",
    ("labels",): ["stand-in"],
    ("ca",): "stand-in",
    ("authenticate", "client_certificate", "trust"): "stand-in",
    ("reenroll", "other_cas", "trust"): "stand-in",
    ("subject",): {},
    ("key",): {"allow": ["EC-P256"]},
    ("key", "allow"): ["EC-P256"],
    ("certificate",): {"lifetime": "90d"},
    ("certificate", "lifetime"): "90d",
    ("rules", "name"): "stand-in",
    ("rules", "when"): "true",
    ("rules", "message"): "stand-in",
}
"""What stands in for keys that a profile must have, by their path without places in lists. A
section that lacks another such key is left out as a whole."""

POLICY_STAND_INS: Mapping[tuple[str, ...], Any] = {
    ("version",): "1",
    ("rules",): [{"name": "stand-in", "verifier": "stand-in"}],
    ("rules", "name"): "stand-in",
    ("rules", "verifier"): "stand-in",
}
"""The same of an appraisal policy."""

SERVER_STAND_INS: Mapping[tuple[str, ...], Any] = {
    ("version",): "1",
    ("cas",): {"stand-in": {"backend": "stand-in"}},
}
"""The same of server.yaml."""


@dataclass(frozen=True, slots=True)
class Content(Generic[Model]):
    """What a file says.

    Attributes:
        model: its content, perhaps mended.
        sound: whether nothing is wrong with its form, so that `model` is what the file says.
        changed: where `model` may say something else than the file.
    """

    model: Model
    sound: bool = True
    changed: frozenset[ConfigPath] = frozenset()

    def tells(self, *paths: ConfigPath) -> bool:
        """Tell whether `model` says what the file says, at and below all of these places."""
        return not any(
            path[: len(changed)] == changed or changed[: len(path)] == path
            for path in paths
            for changed in self.changed
        )


def mend(
    data: Any, model: type[Model], stand_ins: Mapping[tuple[str, ...], Any]
) -> Content[Model] | None:
    """Return what can be made of `data`; None if that is nothing.

    Args:
        data: a document's data; it is not changed.
        model: what it should be.
        stand_ins: what takes the place of keys that must be there.
    """
    mended = deepcopy(data)
    changed: set[ConfigPath] = set()
    while True:
        try:
            made = model.model_validate(mended, by_alias=True, by_name=False)
        except ValidationError as error:
            # all paths first: they lead through what is there now
            found = [(one, written(mended, one["loc"])) for one in errors_of(error)]
            before = len(changed)
            for one, path in found:
                changed.update(_mend(mended, model, one, path, stand_ins))
            if len(changed) == before:
                return None
        else:
            return Content(made, sound=False, changed=frozenset(changed))


def _mend(
    data: Any,
    model: type[BaseModel],
    found: ErrorDetails,
    path: ConfigPath,
    stand_ins: Mapping[tuple[str, ...], Any],
) -> Iterator[ConfigPath]:
    """Change `data` so that this error goes, or the one that follows; yield where."""
    if found["type"] == "missing" and _named((*path, found["loc"][-1])) in stand_ins:
        path = (*path, found["loc"][-1])
    while path and isinstance(path[-1], int):
        path = path[:-1]  # without one item the others would be somewhere else
    if not path or (section := _section(data, path)) is None:
        return
    section.pop(path[-1], None)
    if (stand_in := stand_ins.get(_named(path))) is not None:
        section[path[-1]] = deepcopy(stand_in)
    yield path
    if found["type"] == "extra_forbidden":
        # any key that is not there may be the one that was meant
        absent = (name for name in keys_of(model, path[:-1]) if name not in section)
        yield from ((*path[:-1], name) for name in absent)


def _named(path: ConfigPath) -> tuple[str, ...]:
    return tuple(part for part in path if isinstance(part, str))


def _section(data: Any, path: ConfigPath) -> dict[str | int, Any] | None:
    """Return the section of the key at `path`; None if it was left out meanwhile."""
    for part in path[:-1]:
        if isinstance(data, dict) and part not in data:
            return None
        data = data[part]
    return data if isinstance(data, dict) else None
