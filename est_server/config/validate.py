"""From pydantic's errors to problems with a position."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from est_server.config.document import Broken
from est_server.errors import Problem
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pydantic_core import ErrorDetails

    from est_server.config.document import Document
    from est_server.errors import Position
    from est_server.profiles.profile import ConfigPath

Model = TypeVar("Model", bound=BaseModel)

_QUOTED = re.compile(r"'([^']*)'")
_LONGEST_SHOWN = 60
_KINDS: dict[type[Any], str] = {dict: "a section", list: "a list", str: "a text"}
_EXPECTED = {
    "string_type": ("a text is expected", None),
    "tuple_type": ("a list is expected", "write [ONE, TWO], or one item per line after a dash"),
    "dict_type": ("a section (key: value) is expected", None),
    "model_type": ("a section (key: value) is expected", "write {} for an empty section"),
    "model_attributes_type": ("a section (key: value) is expected", None),
    "int_parsing": ("a whole number is expected", None),
    "int_type": ("a whole number is expected", None),
    "int_parsing_size": ("a smaller number is expected", None),
    "int_from_float": ("a whole number is expected", None),
    "bool_parsing": ("true or false is expected", None),
    "bool_type": ("true or false is expected", None),
    "greater_than_equal": ("at least {ge} is expected", None),
    "less_than_equal": ("at most {le} is expected", None),
    "string_too_short": ("a text is expected, this one is empty", None),
    "string_too_long": ("at most {max_length} characters are expected", None),
    "too_short": ("at least {min_length} is expected", None),
    "too_long": ("at most {max_length} are expected", None),
}


def validate(
    document: Document, model: type[Model], at: ConfigPath = ()
) -> tuple[Model | None, tuple[Problem, ...]]:
    """Make a model of a part of a document.

    Args:
        document: the file as read.
        model: what it should be.
        at: where the part is.

    Returns:
        The model and no problem; or None and every problem, without those that
        `Document.problems` has already.
    """
    node = document.node(at)
    if isinstance(node, Broken):
        return None, ()
    return validate_data(document, model, node, at)


def validate_data(
    document: Document,
    model: type[Model],
    data: Any,
    at: ConfigPath,
    file: Callable[[str], bytes] | None = None,
) -> tuple[Model | None, tuple[Problem, ...]]:
    """Make a model of `data`, which is what stands at `at` or a part of its keys.

    Args:
        document: the file as read.
        model: what it should be.
        data: see above.
        at: where it stands.
        file: reads the files that settings name, as `ports.scalars.file_content` wants it.
    """
    context = {"file": file}
    try:
        return model.model_validate(data, by_alias=True, by_name=False, context=context), ()
    except ValidationError as error:
        return None, tuple(_problems(document, model, data, at, error))


def errors_of(error: ValidationError) -> list[ErrorDetails]:
    """Return what pydantic found, without lists that are too short for their wrong items alone."""
    return [
        found
        for found in error.errors(include_url=False)
        if found["type"] != "too_short" or len(found["input"]) < found["ctx"]["min_length"]
    ]


def did_you_mean(wrong: str, known: Iterable[str], *, wanted: str = "known here") -> str | None:
    """Return a hint with the name that `wrong` was meant to be, or with all names."""
    names = list(known)
    folded = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wrong.lower(), folded, n=1)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    return f"{wanted}: {', '.join(names)}" if names else None


def shown(path: Iterable[str | int]) -> str:
    """Return a path as messages have it: ``key.allow.0``."""
    return ".".join(str(part) for part in path)


def _problems(
    document: Document, model: type[BaseModel], data: Any, at: ConfigPath, error: ValidationError
) -> Iterator[Problem]:
    together: dict[ConfigPath, list[ErrorDetails]] = {}
    for found in errors_of(error):
        path = written(data, found["loc"])
        if isinstance(document.node((*at, *path)), Broken):
            continue  # reported where the file was read
        if found["type"] == "missing":
            path = (*path, found["loc"][-1])
        together.setdefault(path, []).append(found)
    for path, alternatives in together.items():
        yield _problem(document, model, at, path, alternatives)


def _problem(
    document: Document,
    model: type[BaseModel],
    at: ConfigPath,
    path: ConfigPath,
    alternatives: list[ErrorDetails],
) -> Problem:
    """Return the problem at `path`; a union's members each say why they don't fit."""
    found = alternatives[0]
    whole = (*at, *path)
    name = shown(whole)
    match found["type"]:
        case "missing":
            message = f"{name}: this key is missing"
            return Problem(_parent(document, whole), "E106", message, _describe(model, path))
        case "extra_forbidden":
            hint = did_you_mean(str(path[-1]), keys_of(model, path[:-1]))
            return Problem(document.key(*whole), "E105", f"{name}: unknown key", hint)
        case "value_error" if str(found["ctx"]["error"]) == _NO_REFERENCE:
            return Problem(document.value(*whole), "E107", f"{name}: {_NO_REFERENCE}")
    # a key of a free section is told apart from its value by pydantic's own mark
    place = document.key(*whole) if "[key]" in found["loc"] else document.value(*whole)
    message, hint = _wrong_value(found)
    if len(alternatives) > 1:
        message = " and ".join((message, *(_wrong_value(other)[0] for other in alternatives[1:])))
    lead = f"{name}: " if name else ""
    return Problem(place, "E104", lead + message, hint or _describe(model, path))


def _wrong_value(found: ErrorDetails) -> tuple[str, str | None]:
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    if kind == "value_error":
        return str(context["error"]), None
    said = repr(value[:_LONGEST_SHOWN]) if isinstance(value, str) else _KINDS.get(type(value), "it")
    if kind == "literal_error":
        known = _QUOTED.findall(context["expected"])
        hint = did_you_mean(value, known) if isinstance(value, str) else None
        if hint is not None and not hint.startswith("did"):
            hint = None  # the message lists them
        return f"{said} is not one of {', '.join(known)}", hint
    if kind == "string_pattern_mismatch":
        return f"{said} is not of the form that is expected", None
    if kind in _EXPECTED:
        text, hint = _EXPECTED[kind]
        text = text.format_map(context)
        return (text if kind.startswith("too_") else f"{text}, not {said}"), hint
    return f"{said}: {found['msg'].replace('Input should', 'should')}", None


def written(data: Any, location: Iterable[str | int]) -> ConfigPath:
    """Return pydantic's location without what is not in the file, such as a union's member."""
    path: list[str | int] = []
    node = data
    for part in location:
        match node:
            case dict() if part in node:
                node = node[part]
            case list() if isinstance(part, int) and part < len(node):
                node = node[part]
            case _:
                continue
        path.append(part)
    return tuple(path)


def _parent(document: Document, path: ConfigPath) -> Position:
    return document.key(*path[:-1])


def _describe(model: type[BaseModel], path: ConfigPath) -> str | None:
    """Return what a field's description says."""
    names = [part for part in path if isinstance(part, str)]
    if not names:
        return None
    for found in _models_at(model, path[: _last(path)]):
        for field, info in found.model_fields.items():
            if (info.alias or field) == names[-1]:
                return info.description
    return None


def _last(path: ConfigPath) -> int:
    """Return the index of a path's last key."""
    return max(index for index, part in enumerate(path) if isinstance(part, str))


def keys_of(model: type[BaseModel], path: ConfigPath) -> list[str]:
    """Return the keys that a section may have."""
    return [
        info.alias or field
        for found in _models_at(model, path)
        for field, info in found.model_fields.items()
    ]


def _models_at(model: type[BaseModel], path: ConfigPath) -> list[type[BaseModel]]:
    current = [model]
    for part in path:
        if isinstance(part, int):
            continue
        inner = [
            found
            for outer in current
            for field, info in outer.model_fields.items()
            if (info.alias or field) == part
            for found in _models_in(info.annotation)
        ]
        current = inner or current  # a name of the operator's own choice, such as a CA's
    return current


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _no_reference() -> str:
    try:
        Secret.parse(None)
    except ValueError as error:
        return str(error)
    raise AssertionError("None is a reference")


_NO_REFERENCE = _no_reference()
"""What a secret says that was written out; it does not repeat it, and neither do we."""
