"""The files that `init` makes, through the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from est_server.cli import app
from est_server.config.configuration import load
from est_server.errors import ConfigurationError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("config") / "pki"
    result = CliRunner().invoke(app, ["init", str(directory), "--yes"])
    assert result.exit_code == 0, result.output
    return directory


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_what_init_makes_is_valid(made):
    configuration = load(made / "server.yaml")
    assert configuration.labels == {None: "device", "default": "device"}
    # its URLs say localhost until somebody chooses a name
    assert [problem.code for problem in configuration.warnings] == ["W206"]


def test_a_name_that_others_know_leaves_nothing_to_say(tmp_path):
    result = run("init", str(tmp_path / "pki"), "--dns", "pki.example.net", "--yes")
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "pki/server.yaml").warnings == ()


def test_check_prints_warnings_as_json(made):
    result = run("config", "check", "-c", str(made / "server.yaml"), "-o", "json")
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)
    (warning,) = found["warnings"]
    assert (warning["code"], warning["severity"]) == ("W206", "warning")


def test_a_secret_that_others_can_read_is_refused(made):
    key = made / "ca" / "issuing.key"
    key.chmod(0o644)
    try:
        with pytest.raises(ConfigurationError, match="readable by others") as refused:
            load(made / "server.yaml")
    finally:
        key.chmod(0o600)
    (problem,) = (p for p in refused.value.problems if p.severity == "error")
    assert (problem.code, problem.hint) == ("E212", f"chmod 600 {key}")


def test_init_overwrites_nothing(made):
    result = run("init", str(made), "--yes")
    assert result.exit_code == 1
    assert load(made / "server.yaml")
