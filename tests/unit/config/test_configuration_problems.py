"""Mistakes in the files: each with its place and its code, all of them in one run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from est_server.cli import app
from est_server.config.configuration import load
from est_server.config.problems import render
from est_server.config.yaml_nodes import read_document
from est_server.errors import ConfigurationError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("config") / "pki"
    result = CliRunner().invoke(app, ["init", str(directory), "--yes"])
    assert result.exit_code == 0, result.output
    return directory


@pytest.fixture
def profile(made):
    path = made / "profiles" / "device.yaml"
    good = path.read_text()
    yield path
    path.write_text(good)


def problems(directory):
    with pytest.raises(ConfigurationError) as caught:
        load(directory / "server.yaml")
    return caught.value.problems


def test_what_init_makes_is_valid(made):
    configuration = load(made / "server.yaml")
    assert configuration.labels == {None: "device"}
    assert configuration.warnings == ()


def test_six_mistakes_give_six_positions(made, profile):
    profile.write_text(
        "version: 1\n"
        "labels: [cacerts]\n"
        "ca: isuing\n"
        "reenroll: {key: sometimes}\n"
        "subject: {comon_name: {from: device.id}}\n"
        "key: {allow: [EC-P265]}\n"
        "certificate: {lifetime: soon}\n"
    )
    first = problems(made)
    assert [(p.position.line, p.position.column, p.code) for p in first] == [
        (4, 12, "E104"),
        (5, 11, "E105"),
        (7, 15, "E104"),
    ], "what can't be read is told first"
    assert first[1].hint == "did you mean 'common_name'?"
    text = profile.read_text().replace("sometimes", "new").replace("comon", "common")
    profile.write_text(text.replace("soon", "90d"))
    assert [(p.position.line, p.code, p.hint) for p in problems(made)] == [
        (2, "E205", None),
        (3, "E204", None),
        (6, "E208", "did you mean 'EC-P256'?"),
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [", "E100"),
        ("a: 1\na: 2", "E101"),
        ("a: &x 1\nb: *x", "E102"),
        ("a: !!int 1\n? [b]\n: c", "E102"),
        ("a:", "E103"),
        ("", "E103"),
        ("\x00", "E100"),
    ],
)
def test_the_form_of_a_file(text, code):
    document = read_document(text, "f.yaml")
    assert code in {problem.code for problem in document.problems}


def test_scalars_stay_text():
    assert read_document("a: 12:34:56\nb: 1.30\nc: no", "f").data == {
        "a": "12:34:56",
        "b": "1.30",
        "c": "no",
    }


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    document = read_document(text, "f.yaml")
    assert document.data is not None or document.problems
    render(document.problems, {"f.yaml": text})


def test_a_secret_that_others_can_read_is_refused(made):
    key = made / "ca" / "issuing.key"
    key.chmod(0o644)
    try:
        result = CliRunner().invoke(app, ["doctor", "-c", str(made / "server.yaml")])
        assert result.exit_code == 1
        assert "readable by others" in result.output
    finally:
        key.chmod(0o600)


def test_init_overwrites_nothing(made):
    result = CliRunner().invoke(app, ["init", str(made), "--yes"])
    assert result.exit_code == 1
    assert load(made / "server.yaml")
