"""From pydantic's errors to problems with a position, and from problems to what people read.

E100 not YAML · E101 key twice · E102 construct not read · E103 value missing · E104 wrong value ·
E105 unknown key · E106 key missing · E2xx wrong together with something else · W2xx worth a look
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from est_server.errors import Position, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from est_server.config.yaml_nodes import Document

_CODES = {"extra_forbidden": "E105", "missing": "E106"}


def validate(document: Document, model: type[Any], path: tuple[str | int, ...] = ()) -> Any:
    """Return the model of the document's part at `path`, or None with its problems noted."""
    data = document.data
    for part in path:
        data = data[part]
    if data is None:
        return None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            document.problems.append(_problem(document, model, path, found))
        return None


def _problem(
    document: Document, model: type[BaseModel], base: tuple[str | int, ...], found: Any
) -> Problem:
    path = (*base, *found["loc"])
    name = ".".join(str(part) for part in found["loc"])
    code = _CODES.get(found["type"], "E104")
    hint = None
    if code == "E105":
        message = f"unknown key {name}"
        known = _keys(model, found["loc"][:-1])
        close = difflib.get_close_matches(str(found["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
    elif code == "E106":
        message = f"{name} is missing"
    else:
        message = f"{name}: {found['msg'].removeprefix('Value error, ')}" if name else found["msg"]
        expected = found.get("ctx", {}).get("expected")
        if found["type"] == "literal_error" and isinstance(found["input"], str):
            words = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
            close = difflib.get_close_matches(found["input"], words, n=1)
            hint = f"did you mean {close[0]!r}?" if close else None
    return Problem(document.position(path), code, message, hint)


def _keys(model: Any, path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the model at `path` knows."""
    schema = model.model_json_schema(by_alias=True)
    node: dict[str, Any] = schema
    for part in path:
        node = _resolve(schema, node)
        node = node.get("items", {}) if isinstance(part, int) else _property(node, part)
    return sorted(_resolve(schema, node).get("properties", {}))


def _property(node: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = node.get("properties", {}).get(name)
    return found or (extra if isinstance(extra := node.get("additionalProperties"), dict) else {})


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    for choice in (node, *node.get("anyOf", []), *node.get("allOf", [])):
        if (reference := choice.get("$ref")) is not None:
            found: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
            return found
    return node


def render(problems: Iterable[Problem], sources: Mapping[str, str]) -> str:
    """Return the text for a terminal: position, message, the line and a caret, the hint."""
    lines: list[str] = []
    for problem in problems:
        lines.append(str(problem))
        at: Position = problem.position
        source = sources.get(at.file, "").splitlines()
        if 0 < at.line <= len(source):
            lines.append(f"{at.line:5} | {source[at.line - 1]}")
            lines.append(" " * (7 + at.column) + "^")
        if problem.hint:
            lines.append(f"   hint: {problem.hint}")
    return "\n".join(lines)


def as_dict(problem: Problem) -> dict[str, Any]:
    """Return the stable JSON form of a problem."""
    at = problem.position
    return {
        "file": at.file,
        "line": at.line,
        "column": at.column,
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
    }
