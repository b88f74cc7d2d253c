"""A configuration file as read: plain data, and where each part of it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from est_server.errors import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.errors import Problem
    from est_server.profiles.profile import ConfigPath


class Broken:
    """Stands in the data where a value could not be read; its problem is reported already."""

    def __repr__(self) -> str:
        return "BROKEN"


BROKEN = Broken()


@dataclass(frozen=True, slots=True)
class Document:
    """One file as read.

    Attributes:
        file: how messages call it.
        text: the file's text, as far as it is UTF-8.
        data: dictionaries, lists and texts; `BROKEN` where something could not be read, and as a
            whole if the file could not be read to its end.
        keys: where each key stands, by path; items of lists have none.
        values: where each value stands, by path.
        problems: what is wrong with it as YAML.
    """

    file: str
    text: str
    data: Any
    keys: Mapping[ConfigPath, Position] = field(default_factory=lambda: MappingProxyType({}))
    values: Mapping[ConfigPath, Position] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()

    @property
    def positions(self) -> dict[ConfigPath, Position]:
        """Where each key, or each item of a list, stands."""
        return {**self.values, **self.keys}

    def node(self, path: ConfigPath) -> Any:
        """Return the value at `path`; None where there is none, `BROKEN` below a broken one."""
        found = self.data
        for part in path:
            if isinstance(found, Broken):
                return found
            if isinstance(found, dict):
                found = found.get(part)
            elif isinstance(found, list) and isinstance(part, int) and part < len(found):
                found = found[part]
            else:
                return None
        return found

    def key(self, *path: str | int) -> Position:
        """Return where the key at `path` stands, or its nearest written ancestor."""
        for length in range(len(path), 0, -1):
            at = path[:length]
            if (found := self.keys.get(at) or self.values.get(at)) is not None:
                return found
        return Position(self.file, 1, 1)

    def value(self, *path: str | int) -> Position:
        """Return where the value at `path` stands; a section is found by its key."""
        found = self.values.get(path)
        if found is None or isinstance(self.node(path), dict | list):
            return self.key(*path)
        return found
