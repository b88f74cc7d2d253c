"""The JSON Schema that editors use says what the loader does, and is the one that is committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from backends.soft import SoftSettings
from est_server.config.backends import VERIFIERS, find_verifier, installed
from est_server.config.schema import policy_schema, profile_schema, schema_text, server_schema

PROFILES = Path(__file__).parents[3] / "profiles"
SHIPPED = {
    point.name: find_verifier(point.name, [point])
    for point in installed(VERIFIERS)
    if point.value.startswith("est_server.")
}
SCHEMAS = {
    "profile.schema.json": profile_schema,
    "policy.schema.json": lambda: policy_schema(
        {name: found.policy_model for name, found in SHIPPED.items()}
    ),
    "server.schema.json": lambda: server_schema(
        {"soft": SoftSettings}, {name: found.settings_model for name, found in SHIPPED.items()}
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_the_models(name):
    assert (PROFILES / name).read_text(encoding="utf-8") == schema_text(SCHEMAS[name]())


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_section_refuses_unknown_keys(name):
    schema = SCHEMAS[name]()
    sections = [schema, *schema["$defs"].values()]
    sections += [choice for section in sections for choice in section.get("oneOf", [])]
    open_ones = [one.get("title", one) for one in sections if "properties" in one]
    assert open_ones
    for section in sections:
        if "properties" in section:
            assert section["additionalProperties"] is False, section


def test_keys_are_those_of_the_file():
    schema = profile_schema()
    assert {"fixed", "from", "allow", "required"} == set(
        schema["$defs"]["SubjectField"]["properties"]
    )
    server = server_schema({}, {})
    assert {"est", "public", "admin"} == set(server["$defs"]["Listeners"]["properties"])


def test_defaults_are_written_as_an_operator_would():
    assert profile_schema()["$defs"]["Reenroll"]["properties"]["grace_after_expiry"]["default"] == (
        "0s"
    )
    limits = server_schema({}, {})["$defs"]["Limits"]["properties"]
    assert limits["attempts_per_user"]["default"] == "10/5m"
    listener = server_schema({}, {})["$defs"]["EstListener"]["properties"]
    assert listener["key"]["default"] == "file:tls/server.key"


def test_an_empty_value_is_no_value_for_an_editor_either():
    for schema in (make() for make in SCHEMAS.values()):
        assert "null" not in schema_text(schema)


def test_editors_may_read_the_version_as_a_number():
    assert profile_schema()["properties"]["version"]["enum"] == [1, "1"]


def test_a_backend_brings_its_own_keys():
    choice = server_schema({"soft": SoftSettings}, {})["$defs"]["Ca"]["oneOf"][0]
    assert choice["properties"]["backend"] == {"const": "soft"}
    assert choice["required"] == ["backend", "certificate", "key", "passphrase"]


def test_the_examples_point_editors_to_their_schema():
    for path in PROFILES.glob("*.yaml"):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        _, _, name = first.partition("# yaml-language-server: $schema=")
        assert (PROFILES / name).is_file(), path.name


def test_the_examples_use_only_keys_that_the_schema_has():
    schema = profile_schema()

    def check(node: object, part: dict) -> None:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        if isinstance(node, dict):
            for key, value in node.items():
                check(value, part["properties"][key])
        elif isinstance(node, list):
            for value in node:
                check(value, part["items"])

    for path in PROFILES.glob("*.yaml"):
        check(yaml.load(path.read_text(), Loader=yaml.BaseLoader), schema)


def test_the_text_is_json():
    assert json.loads(schema_text(profile_schema())) == profile_schema()
