"""JSON Schema of the configuration files, from the models that read them.

Editors show it while an operator types (``# yaml-language-server: $schema=profile.schema.json``).
An editor reads ``version: 1`` as a number and we read it as text: both are allowed.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from est_server.attestation.policy import PolicyModel
from est_server.config.server import ServerModel, rate_text
from est_server.ports.ephemeral import Budget
from est_server.ports.scalars import duration_text
from est_server.ports.secret import Secret
from est_server.profiles.model import ProfileModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def profile_schema() -> dict[str, Any]:
    """Return the schema of ``profiles/<name>.yaml``."""
    return _schema(ProfileModel, "est-server profile")


def server_schema(
    backends: Mapping[str, type[BaseModel]], verifiers: Mapping[str, type[BaseModel]]
) -> dict[str, Any]:
    """Return the schema of ``server.yaml``.

    Args:
        backends: settings models by backend name.
        verifiers: settings models by verifier name.
    """
    schema = _schema(ServerModel, "est-server server.yaml")
    definitions: dict[str, Any] = schema["$defs"]
    _choose(definitions, "Ca", "backend", backends)
    settings = definitions["Attestation"]["properties"]["verifiers"]
    settings |= {"properties": {}, "additionalProperties": False}
    for name, model in sorted(verifiers.items()):
        settings["properties"][name] = _part(definitions, model)
    return schema


def policy_schema(verifiers: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the schema of ``policies/<name>.yaml``.

    Args:
        verifiers: models of their own keys in a rule, by verifier name.
    """
    schema = _schema(PolicyModel, "est-server appraisal policy")
    _choose(schema["$defs"], "RuleModel", "verifier", verifiers)
    return schema


def _choose(
    definitions: dict[str, Any], name: str, key: str, models: Mapping[str, type[BaseModel]]
) -> None:
    """Make a definition one of several: `key` says which, and each has keys of its own."""
    shared = definitions[name]
    choices: list[dict[str, Any]] = []
    for kind, model in sorted(models.items()):
        part = _part(definitions, model)
        own = part.get("properties", {})
        part["properties"] = {**shared["properties"], key: {"const": kind}, **own}
        part["required"] = [*shared["required"], *part.get("required", [])]
        choices.append(part)
    if choices:
        definitions[name] = {"oneOf": choices}


def _part(definitions: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    part: dict[str, Any] = _for_editors(
        model.model_json_schema(by_alias=True, schema_generator=_Generator)
    )
    definitions.update(part.pop("$defs", {}))
    return part


def schema_text(schema: dict[str, Any]) -> str:
    """Return a schema as the committed files have it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Writes defaults as an operator would write the values."""

    def encode_default(self, dft: Any) -> Any:
        match dft:
            case timedelta():
                return duration_text(dft)
            case Budget():
                return rate_text(dft)
            case Secret():
                return dft.reference
        return super().encode_default(dft)


def _schema(model: type[BaseModel], title: str) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return {"$schema": _DIALECT, **_for_editors(schema), "title": title}


def _for_editors(node: Any) -> Any:
    """Return a schema that says what the loader does.

    Without generated titles, without null (an empty value is an error, an absent key is not), and
    with the version as text and as number.
    """
    if isinstance(node, list):
        return [_for_editors(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _for_editors(value) for key, value in node.items()}
    if isinstance(found.get("title"), str):
        del found["title"]
    if found.get("const") == "1":
        found.pop("type", None)
        del found["const"]
        found["enum"] = [1, "1"]
    if "default" in found and (found["default"] is None or isinstance(found["default"], dict)):
        del found["default"]
    choices = [choice for choice in found.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del found["anyOf"]
        found = {**choices[0], **found}
    return found
