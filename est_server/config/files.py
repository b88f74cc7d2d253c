"""The files of one run of `load`: what was read, and what is wrong with any of it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from est_server.config.certificates import read_file
from est_server.config.document import BROKEN, Document
from est_server.config.mending import Content, mend
from est_server.config.validate import validate
from est_server.config.yaml_nodes import read_yaml
from est_server.errors import Position, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Model = TypeVar("Model", bound=BaseModel)


class Files:
    """Reads files and collects problems.

    Attributes:
        path: server.yaml.
        folder: its folder, where relative paths start.
        digests: SHA-256 of every file that could be read, by the name that messages have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path.parent
        self.digests: dict[str, str] = {}
        self._names: list[str] = []
        self._problems: list[Problem] = []

    def error(self, at: Position, code: str, message: str, hint: str | None = None) -> None:
        """Note an error."""
        self._problems.append(Problem(at, code, message, hint))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note problems."""
        self._problems.extend(problems)

    def problems(self) -> tuple[Problem, ...]:
        """Return what was noted: files in the order in which they were read, then by position."""
        order = {name: index for index, name in reversed([*enumerate(self._names)])}
        return tuple(
            sorted(
                self._problems,
                key=lambda found: (order.get(found.position.file, -1), found.position, found.code),
            )
        )

    def read(self, path: Path, at: Position | None = None, lead: str = "") -> bytes | None:
        """Return a file's octets, or None and a problem.

        Args:
            path: the file.
            at: what names the file; None for a file that is its own place.
            lead: how the message begins.
        """
        name = str(path)
        self._names.append(name)
        try:
            data = read_file(path)
        except OSError as error:
            where = Position(name, 1, 1) if at is None else at
            self.error(where, "E109", f"{lead}{path.name} can't be read: {error.strerror}")
            return None
        self.digests[name] = sha256(data).hexdigest()
        return data

    def named(self, name: str) -> bytes:
        """Return the octets of a file that a setting names.

        Raises:
            ValueError: it can't be read.
        """
        path = self.folder / name
        try:
            data = read_file(path)
        except OSError as error:
            raise ValueError(f"{name} can't be read: {error.strerror}") from error
        self.digests[str(path)] = sha256(data).hexdigest()
        return data

    def document(
        self, path: Path, model: type[Model], stand_ins: Mapping[tuple[str, ...], Any]
    ) -> tuple[Document, Content[Model] | None]:
        """Return a YAML file and what it says, or what can be made of it, with `mend`."""
        data = self.read(path)
        if data is None:
            return Document(str(path), "", BROKEN), None
        document = read_yaml(data, str(path))
        self.extend(document.problems)
        made, problems = validate(document, model)
        self.extend(problems)
        if made is None:
            return document, mend(document.data, model, stand_ins)
        return document, Content(made, sound=not document.problems)

    def digest(self) -> str:
        """Return the SHA-256 over names (below the folder) and contents of all files."""
        folder = f"{self.folder}/"
        lines = (
            f"{name.removeprefix(folder)}\0{digest}\n"
            for name, digest in sorted(self.digests.items())
        )
        return sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
