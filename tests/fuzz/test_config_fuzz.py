"""No file makes the loader raise anything but ConfigurationError, or the renderer anything."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from fuzzing import counted, examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from est_server.config.configuration import load
from est_server.config.document import Broken
from est_server.config.problems import as_dict, read_sources, render
from est_server.config.server import ServerModel
from est_server.config.validate import validate
from est_server.config.yaml_nodes import read_yaml
from est_server.errors import ConfigurationError
from est_server.profiles.model import ProfileModel

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = [path.read_text(encoding="utf-8") for path in REPOSITORY.glob("profiles/*.yaml")]
WORDS = st.sampled_from(
    [
        *("version", "labels", "ca", "subject", "from", "allow", "cas", "trust", "rules", "when"),
        *("backend", "soft", "key", "device.id", "90d", "1", "default", "EC-P256", "999999999y"),
        *("~", "null", "*a", "&a", "!!int", "<<", "---", "...", "%YAML 1.1", "%TAG ! x:", "|", ">"),
        *('"', "'", "#", ":", ": ", "- ", "? ", "{", "}", "[", "]", ", ", "\n", "\n  ", "\t"),
        *("\\", '"\\U00110000"', '"\\uD800"', "\x85", "\u2028", "\ufeff", "\x00", "é", "名"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=400),
    st.lists(WORDS, max_size=80).map("".join),
)


def read(text: bytes):
    document = read_yaml(text, "f.yaml")
    return document, [validate(document, model) for model in (ProfileModel, ServerModel)]


def check(text: bytes) -> None:
    document, validated = counted("yaml", lambda: read(text))
    problems = list(document.problems)
    assert problems or isinstance(document.data, dict)
    for made, found in validated:
        assert made is not None or found or problems
        problems += found
    lines = document.text.count("\n") + 1000
    for problem in problems:
        assert 1 <= problem.position.line <= lines
        assert problem.position.column >= 1
        assert as_dict(problem)["code"] == problem.code
    shown = render(problems, {"f.yaml": document.text})
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    "text",
    [
        *(b"[" * 1100, b"{" * 1100, b"[{" * 500, b"[a," * 400, b"{a: " * 300, b"x: " + b"[" * 4000),
        *(b"- " * 2000, b"? " * 2000, b"[]" * 1000, b"a: &" + b"b" * 4000, b'"' + b"\\x41" * 1000),
        *(b"a: b\n" * 800, b"- a\n" * 800, b"{" + b"a: b, " * 600 + b"}", b"|\n" + b" x\n" * 1000),
    ],
    ids=lambda text: f"{text[:8]}*",
)
def test_shapes_that_cost_a_scanner_much(text):
    check(text)


def test_brackets_are_counted_while_they_are_scanned():
    problems = read_yaml(b"[" * 1100, "f.yaml").problems
    assert [(found.code, found.position.column) for found in problems] == [("E108", 33)]


@given(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
@examples(200, 0.16)
def test_any_text_is_a_document_or_its_problems(text):
    check(text)


@given(st.binary(max_size=300))
@examples(100, 0.05)
def test_any_octets_are_a_document_or_its_problems(data):
    check(data)


@given(st.sampled_from(EXAMPLES), st.data())
@examples(100, 0.25)
def test_a_damaged_example_is_a_document_or_its_problems(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    put = data.draw(st.lists(WORDS, max_size=4).map("".join))
    check((text[:start] + put + text[end:]).encode())


PLAIN = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text("abcüλ", min_size=1), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcü", min_size=1), PLAIN, max_size=4).filter(bool))
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_what_is_read(data):
    written = yaml.dump(data, allow_unicode=True, default_style='"')
    document = read_yaml(written.encode(), "f.yaml")
    assert document.problems == ()
    assert document.data == data


@given(TEXTS, TEXTS, TEXTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_folder_is_a_configuration_or_its_problems(server, profile, trust):
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "profiles").mkdir()
        intro = "version: 1\ncas: {issuing: {backend: soft}}\ntrust: {acme: acme.pem}\n"
        files = {
            "server.yaml": intro + server,
            "profiles/x.yaml": profile,
            "acme.pem": "-----BEGIN CERTIFICATE-----\n" + trust,
        }
        for name, text in files.items():
            (base / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(ConfigurationError) as refused:
            load(base / "server.yaml", backends=())
        problems = refused.value.problems
        render(problems, read_sources(problems, {}))


def test_nothing_in_the_product_reads_yaml_by_its_own_types():
    for path in [*REPOSITORY.glob("est_server/**/*.py"), *REPOSITORY.glob("backends/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        for call in ("safe_load", "yaml.load", "full_load", "unsafe_load", "yaml.compose"):
            words = text.replace(f"``{call}", "")
            assert f"{call}(" not in words, f"{path}: {call}"


def test_broken_parts_have_a_name():
    assert repr(Broken()) == "BROKEN"
