"""From PyYAML's events to plain data with positions; every problem is noted, none is raised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from est_server.config.document import BROKEN, Broken, Document
from est_server.errors import Position, Problem

if TYPE_CHECKING:
    from est_server.profiles.profile import ConfigPath

DEEPEST = 32
MOST_NODES = 20_000
_TOO_DEEP = f"nested more than {DEEPEST} deep"

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SYNTAX_HINTS = (
    ("alias", 'text that begins with * needs quotes: "*.example.net"'),
    ("anchor", "text that begins with & needs quotes"),
    ("'\\t'", "indent with spaces, not with tabs"),
    ("cannot start any token", "text that begins with this character needs quotes"),
    ("mapping values are not allowed", "text that holds a colon and a space needs quotes"),
    ("quoted scalar", "the quote that opens here is never closed"),
    ("flow sequence", "a list that begins with [ ends with ]"),
    ("flow mapping", "a section that begins with { ends with }"),
    ("block mapping", "keys of one section begin in the same column"),
)
_Mark = Any
"""PyYAML's mark, of which there are two kinds."""


class _TooMuchError(Exception):
    """A bound was reached; its problem is noted."""


class _TooDeepError(yaml.MarkedYAMLError):
    """Brackets in brackets, more than `DEEPEST`."""


class _Loader(yaml.SafeLoader):
    """PyYAML's parser, with a bound on brackets.

    Each open bracket may still become a key, so its scanner reads on and looks at all of them for
    every further token: a thousand brackets in one line would cost a tenth of a second.
    """

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        if self.flow_level >= DEEPEST:
            raise _TooDeepError(problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token_class)


@dataclass(slots=True)
class _Frame:
    """A section or list that is being read.

    Attributes:
        container: what it becomes.
        path: None for what is read and thrown away.
        key: in a section, the key whose value comes next.
        has_key: in a section, whether a value comes next; with `key` None it is thrown away.
    """

    container: dict[str, Any] | list[Any]
    path: ConfigPath | None
    key: str | None = None
    has_key: bool = False


class Composer:
    """Composes one file; use it once."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.root: Any = None
        self.keys: dict[ConfigPath, Position] = {}
        self.values: dict[ConfigPath, Position] = {}
        self.problems: list[Problem] = []
        self.stack: list[_Frame] = []
        self.nodes = 0
        self.documents = 0

    def compose(self) -> Document:
        """Return the document."""
        loader = _Loader(self.text)
        try:
            while loader.check_event():
                self._take(loader.get_event())  # type: ignore[no-untyped-call]  # PyYAML's
            self._whole()
        except _TooDeepError as error:
            self._report(error.problem_mark, "E108", _TOO_DEEP)
            self.root = BROKEN
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except (ValueError, OverflowError):
            # PyYAML's scanner on "\UFFFFFFFF", and on %YAML with thousands of digits
            self._report(loader.get_mark(), "E100", "this is not YAML")
            self.root = BROKEN
        except _TooMuchError:
            self.root = BROKEN
        return Document(
            self.file,
            self.text,
            self.root,
            MappingProxyType(self.keys),
            MappingProxyType(self.values),
            tuple(sorted(self.problems, key=lambda problem: problem.position)),
        )

    def _take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._document(event)
            case yaml.AliasEvent():
                hint = 'text that begins with * needs quotes: "*.example.net"'
                self._report(event.start_mark, "E102", "aliases are not read here", hint)
                self._note(event)
                self._put(BROKEN)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._plain(event)
                frame = _Frame(
                    {} if isinstance(event, yaml.MappingStartEvent) else [], self._path()
                )
                if self.stack and isinstance(self.stack[-1].container, dict):
                    self._collection_as_key(event)
                self._note(event)
                self.stack.append(frame)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._put(self.stack.pop().container)
            case yaml.ScalarEvent():
                self._scalar(event)

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self.documents += 1
        if self.documents > 1:
            self._report(event.start_mark, "E102", "a second document begins here", "use one file")
            raise _TooMuchError
        if event.tags:
            self._report(event.start_mark, "E102", "tags are not read here")

    def _whole(self) -> None:
        """Check that there is one section, as every file of ours is."""
        if self.root is None:
            self.problems.append(Problem(Position(self.file, 1, 1), "E103", "the file is empty"))
            self.root = BROKEN
        elif not isinstance(self.root, dict | Broken):
            at = self.values.get((), Position(self.file, 1, 1))
            self.problems.append(Problem(at, "E104", "a section (key: value) is expected"))
            self.root = BROKEN

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        frame = self.stack[-1] if self.stack else None
        self._plain(event)
        if frame is not None and isinstance(frame.container, dict) and not frame.has_key:
            self._key(event, frame, frame.container)
            return
        self._note(event)
        value: Any = event.value
        if event.style is None and event.value in _NULLS:
            hint = 'leave the key out, or write "" for an empty text and {} for an empty section'
            at = event.start_mark
            name = "" if frame is None or frame.key is None else f"{frame.key}: "
            self._report(at, "E103", f"{name}a value is missing", hint)
            value = BROKEN
        elif _INVISIBLE.search(event.value):
            self._report(event.start_mark, "E100", "control characters have no place in a value")
            value = BROKEN
        self._put(value)

    def _key(self, event: yaml.ScalarEvent, frame: _Frame, container: dict[str, Any]) -> None:
        key, mark = event.value, event.start_mark
        self._count(mark)
        frame.has_key = True
        frame.key = None
        if frame.path is None:
            return
        path = (*frame.path, key)
        if event.style is None and key == "<<":
            self._report(mark, "E102", "merge keys are not read here", "write the keys out")
        elif event.style is None and key == "":
            self._report(mark, "E103", "a key is missing before the colon")
        elif _INVISIBLE.search(key):
            self._report(mark, "E100", "control characters have no place in a key")
        elif key in container:
            first = self.keys[path].line
            self._report(mark, "E101", f"{key[:60]!r} is here twice", f"first on line {first}")
        else:
            frame.key = key
            self.keys[path] = self._position(mark)

    def _collection_as_key(self, event: yaml.Event) -> None:
        if not self.stack[-1].has_key:
            hint = "text that begins with [ or { needs quotes"
            self._report(event.start_mark, "E102", "a key is text, not a list or a section", hint)

    def _path(self) -> ConfigPath | None:
        """Return the path of the value that begins now; None if it is thrown away."""
        if not self.stack:
            return ()
        frame = self.stack[-1]
        if frame.path is None:
            return None
        if isinstance(frame.container, list):
            return (*frame.path, len(frame.container))
        return None if frame.key is None else (*frame.path, frame.key)

    def _note(self, event: yaml.Event) -> None:
        self._count(event.start_mark)
        if (path := self._path()) is not None:
            self.values[path] = self._position(event.start_mark)

    def _put(self, value: Any) -> None:
        if not self.stack:
            self.root = value
            return
        frame = self.stack[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
        elif not frame.has_key:
            frame.has_key = True  # a list, a section or an alias stood where a key belongs
            frame.key = None
        else:
            if frame.key is not None:
                frame.container[frame.key] = value
            frame.has_key = False
            frame.key = None

    def _plain(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        """Report a tag and an anchor; what they stand at is read all the same."""
        if event.tag is not None:
            hint = "text that begins with ! needs quotes"
            self._report(event.start_mark, "E102", "tags are not read here", hint)
        if event.anchor is not None:
            hint = "text that begins with & needs quotes"
            self._report(event.start_mark, "E102", "anchors are not read here", hint)

    def _count(self, mark: _Mark) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            self._report(mark, "E108", f"more than {MOST_NODES:,} keys and values")
            raise _TooMuchError
        if len(self.stack) >= DEEPEST:
            self._report(mark, "E108", _TOO_DEEP)
            raise _TooMuchError

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        problem = error.problem or "this is not YAML"
        mark = error.problem_mark or error.context_mark
        if error.context_mark is not None and "end of stream" in problem:
            mark = error.context_mark
        said = f"{error.context}: {problem}" if error.context else problem
        hint = next((hint for part, hint in _SYNTAX_HINTS if part in said), None)
        self._report(mark, "E100", said, hint)
        self.root = BROKEN

    def _report(self, mark: _Mark | None, code: str, message: str, hint: str | None = None) -> None:
        at = Position(self.file, 1, 1) if mark is None else self._position(mark)
        self.problems.append(Problem(at, code, message, hint))

    def _position(self, mark: _Mark) -> Position:
        return Position(self.file, mark.line + 1, mark.column + 1)
