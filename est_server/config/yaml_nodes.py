"""YAML with positions, in the small subset that configuration needs.

Every scalar is text: ``safe_load`` would read ``12:34:56`` as a number and accept a key twice.
Aliases, tags, several documents and keys that are not text are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from est_server.errors import Position, Problem

if TYPE_CHECKING:
    from est_server.profiles.profile import ConfigPath

LARGEST = 1 << 20
DEEPEST = 20


@dataclass(slots=True)
class Document:
    """A file's content and where each part of it stands.

    Attributes:
        data: mappings, lists and text.
        positions: of each value's key (or of the item), by path; the root is ``()``.
        problems: what was wrong; `data` leaves those parts out.
    """

    file: str
    data: Any = None
    positions: dict[ConfigPath, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def position(self, path: ConfigPath) -> Position:
        """Return where `path` stands, or its nearest ancestor."""
        for length in range(len(path), -1, -1):
            if (found := self.positions.get(path[:length])) is not None:
                return found
        return Position(self.file, 1, 1)

    def _report(self, mark: Any, code: str, message: str, hint: str | None = None) -> None:
        at = Position(self.file, mark.line + 1, mark.column + 1)
        self.problems.append(Problem(at, code, message, hint))


def read_document(text: str, file: str) -> Document:
    """Return the document; every problem of its form is in `Document.problems`."""
    document = Document(file)
    if len(text) > LARGEST:
        document.problems.append(Problem(Position(file, 1, 1), "E100", "larger than 1 MiB"))
        return document
    try:
        # aliases are refused on the event stream: composing would expand them first
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                document._report(  # noqa: SLF001 - its own builder
                    event.start_mark, "E102", "anchors and aliases are not read", "write it out"
                )
                return document
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = f"not YAML: {error.problem or error.context}"
        document.problems.append(Problem(Position(file, line, column), "E100", message))
        return document
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        message = f"not YAML: {str(error).splitlines()[0]}"
        document.problems.append(Problem(Position(file, 1, 1), "E100", message))
        return document
    if root is None:
        document.problems.append(Problem(Position(file, 1, 1), "E103", "the file is empty"))
        return document
    document.positions[()] = Position(file, 1, 1)
    document.data = _value(document, root, ())
    return document


def _value(document: Document, node: yaml.Node, path: ConfigPath) -> Any:
    if not node.tag.startswith("tag:yaml.org,2002:") or len(path) > DEEPEST:
        document._report(node.start_mark, "E102", "tags and deep nesting are not read")  # noqa: SLF001
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, path)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            where = (*path, index)
            mark = item.start_mark
            document.positions[where] = Position(document.file, mark.line + 1, mark.column + 1)
            items.append(_value(document, item, where))
        return items
    text = str(node.value)
    if not text and isinstance(node, yaml.ScalarNode) and node.style is None:
        document._report(node.start_mark, "E103", "the value is missing")  # noqa: SLF001
    return text


def _mapping(document: Document, node: yaml.MappingNode, path: ConfigPath) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        mark = key.start_mark
        if not isinstance(key, yaml.ScalarNode):
            document._report(mark, "E102", "a key must be text")  # noqa: SLF001
            continue
        name = str(key.value)
        if name in found:
            document._report(mark, "E101", f"{name!r} stands twice")  # noqa: SLF001
            continue
        where = (*path, name)
        document.positions[where] = Position(document.file, mark.line + 1, mark.column + 1)
        found[name] = _value(document, value, where)
    return found
