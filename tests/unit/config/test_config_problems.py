"""How problems are shown, and how pydantic's become ours."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from est_server.config.problems import CODES, as_dict, read_sources, render, summary
from est_server.config.validate import did_you_mean, validate
from est_server.config.yaml_nodes import read_yaml
from est_server.errors import Position, Problem
from est_server.ports.scalars import Duration, Oid, Strict
from est_server.ports.secret import Secret

SECTION = "a section (key: value) is expected, not"
LIST = "a list is expected, not"
LIST_HINT = "write [ONE, TWO], or one item per line after a dash"
EMPTY = "write {} for an empty section"
SPAN = "not a duration: a whole number and a unit (s, m, h, d, w, y), like 90d"
OID = "not an object identifier like 1.3.6.1.5.5.7.3.2"
REFERENCE = "not a reference: write file:PATH or env:NAME, never the secret itself"


class Inner(Strict):
    name: str = Field(pattern="^[a-z]+$", description="lower case")
    count: int = Field(default=1, ge=1, le=9)
    kind: Literal["tpm2", "dice"] = "dice"
    flag: bool = False


class Outer(Strict):
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    either: tuple[Literal["serverAuth"] | Oid, ...] = ()
    span: Duration | None = None
    key: Secret | None = None
    from_: str | None = Field(default=None, alias="from")


def found(text: str) -> list[tuple[str, int, int, str, str | None]]:
    document = read_yaml(text.encode(), "f.yaml")
    assert document.problems == ()
    model, problems = validate(document, Outer)
    assert (model is None) == bool(problems)
    return [(p.code, p.position.line, p.position.column, p.message, p.hint) for p in problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "inner: {nmae: x, name: y}\n",
            ("E105", 1, 9, "inner.nmae: unknown key", "did you mean 'name'?"),
        ),
        (
            "named: {first: {name: x, kidn: y}}\n",
            ("E105", 1, 26, "named.first.kidn: unknown key", "did you mean 'kind'?"),
        ),
        (
            "many:\n- name: x\n  zzz: 1\n",
            ("E105", 3, 3, "many.0.zzz: unknown key", "known here: name, count, kind, flag"),
        ),
        ("from_: x\n", ("E105", 1, 1, "from_: unknown key", "did you mean 'from'?")),
        (
            "many:\n- name: x\n- {}\n",
            ("E106", 3, 3, "many.1.name: this key is missing", "lower case"),
        ),
        (
            "inner: {name: x, kind: TPM2}\n",
            ("E104", 1, 24, "inner.kind: 'TPM2' is not one of tpm2, dice", "did you mean 'tpm2'?"),
        ),
        (
            "inner: {name: x, kind: bogus}\n",
            ("E104", 1, 24, "inner.kind: 'bogus' is not one of tpm2, dice", None),
        ),
        (
            "inner: {name: X}\n",
            ("E104", 1, 15, "inner.name: 'X' is not of the form that is expected", "lower case"),
        ),
        (
            "inner: {name: [x]}\n",
            ("E104", 1, 9, "inner.name: a text is expected, not a list", "lower case"),
        ),
        ("inner: x\n", ("E104", 1, 8, f"inner: {SECTION} 'x'", EMPTY)),
        ("inner: []\n", ("E104", 1, 1, f"inner: {SECTION} a list", EMPTY)),
        ("many: x\n", ("E104", 1, 7, f"many: {LIST} 'x'", LIST_HINT)),
        ("many: {a: b}\n", ("E104", 1, 1, f"many: {LIST} a section", LIST_HINT)),
        ("named: x\n", ("E104", 1, 8, f"named: {SECTION} 'x'", None)),
        (
            "inner: {name: x, count: many}\n",
            ("E104", 1, 25, "inner.count: a whole number is expected, not 'many'", None),
        ),
        (
            "inner: {name: x, count: 0}\n",
            ("E104", 1, 25, "inner.count: at least 1 is expected, not '0'", None),
        ),
        (
            "inner: {name: x, count: 10}\n",
            ("E104", 1, 25, "inner.count: at most 9 is expected, not '10'", None),
        ),
        (
            "inner: {name: x, flag: maybe}\n",
            ("E104", 1, 24, "inner.flag: true or false is expected, not 'maybe'", None),
        ),
        ("span: 999999999y\n", ("E104", 1, 7, "span: longer than 9999y", None)),
        ("span: 1.5h\n", ("E104", 1, 7, f"span: {SPAN}", None)),
        (
            "either: [serverauth]\n",
            (
                "E104",
                1,
                10,
                f"either.0: 'serverauth' is not one of serverAuth and {OID}",
                "did you mean 'serverAuth'?",
            ),
        ),
        (
            "key: hunter2\n",
            ("E107", 1, 6, f"key: {REFERENCE}", None),
        ),
    ],
)
def test_pydantics_errors_have_a_place_and_a_hint(text, expected):
    assert found(text) == [expected]


def test_all_of_them_come_in_one_run():
    text = "inner: {nmae: x, kind: y}\nspan: long\nmany: x\nzzz: 1\n"
    assert {(code, line, column) for code, line, column, *_ in found(text)} == {
        ("E106", 1, 1),
        ("E105", 1, 9),
        ("E104", 1, 24),
        ("E104", 2, 7),
        ("E104", 3, 7),
        ("E105", 4, 1),
    }


def test_what_could_not_be_read_is_not_reported_again():
    document = read_yaml(b"inner: {name: *x}\nspan:\nkey: *y\n", "f.yaml")
    assert [problem.code for problem in document.problems] == ["E102", "E103", "E102"]
    assert validate(document, Outer) == (None, ())


def test_hints_name_what_was_meant_whatever_its_case():
    assert did_you_mean("ec-p265", ["EC-P256", "RSA-2048"]) == "did you mean 'EC-P256'?"
    assert did_you_mean("zzz", ["a", "b"], wanted="CAs") == "CAs: a, b"
    assert did_you_mean("zzz", []) is None


def problem(line: int, column: int, **changes: str | None) -> Problem:
    fields = {"code": "E104", "message": "wrong", "hint": None, **changes}
    return Problem(Position("f.yaml", line, column), **fields)


def test_a_problem_is_shown_with_its_line_and_a_caret():
    source = "version: 1\n  formats: [tpm2, bogus]\n"
    shown = render([problem(2, 19, hint="look")], {"f.yaml": source})
    assert shown.splitlines() == [
        "f.yaml:2:19: error[E104]: wrong",
        "    2 |   formats: [tpm2, bogus]",
        "      |                   ^^^^^",
        "   hint: look",
    ]


@pytest.mark.parametrize(
    ("line", "column", "carets"),
    [
        ('a: "b c" # d', 4, "   ^^^^^"),
        ("a: 'b c', d", 4, "   ^^^^^"),
        ("key: value", 1, "^^^"),
        ("at: 0.0.0.0:80}", 5, "    ^^^^^^^^^^"),
        ("a: x", 5, "    ^"),
        ("a: x", 99, "    ^"),
        ("ключ: x", 7, "      ^"),
        ("名前: x", 5, "      ^"),
    ],
)
def test_the_caret_is_below_what_it_means(line, column, carets):
    shown = render([problem(1, column)], {"f.yaml": line}).splitlines()
    assert shown[2] == f"      | {carets}"


def test_a_long_line_is_cut_around_the_place():
    source = "x" * 500 + " here " + "y" * 500
    lines = render([problem(1, 502)], {"f.yaml": source}).splitlines()
    assert max(map(len, lines)) < 120
    assert lines[1][lines[2].index("^") :].startswith("here ")


def test_a_secret_that_was_written_out_is_not_shown_again():
    source = "{passphrase: hunter2, oops: 1}\n"
    problems = [problem(1, 14, code="E107"), problem(1, 23, code="E105")]
    assert "hunter2" not in render(problems, {"f.yaml": source})


def test_nothing_shown_can_drive_a_terminal():
    wrong = problem(1, 1, message="a\x1b[2Jb\u202ec\nd", hint="e\x9bf")
    shown = render([wrong], {"f.yaml": "k: \u202e\x1b\tv"})
    assert all(character.isprintable() for line in shown.split("\n") for character in line)


def test_a_file_that_is_gone_is_shown_without_its_line(tmp_path):
    gone = Problem(Position(str(tmp_path / "gone"), 3, 1), "E109", "can't be read")
    assert read_sources([gone], {}) == {}
    assert render([gone], {}) == f"{gone}"


def test_sources_are_read_once_or_given(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: \xff\n")
    there = Problem(Position(str(file), 1, 1), "E100", "x")
    assert read_sources([there], {}) == {str(file): "a: \ufffd\n"}
    assert read_sources([there], {str(file): "given"}) == {str(file): "given"}


def test_the_json_form_is_stable():
    assert as_dict(problem(2, 3, hint="h")) == {
        "code": "E104",
        "severity": "error",
        "file": "f.yaml",
        "line": 2,
        "column": 3,
        "message": "wrong",
        "hint": "h",
    }


def test_the_summary_counts():
    warning = Problem(Position("f", 1, 1), "W201", "x", severity="warning")
    assert summary([problem(1, 1), warning]) == "2 problems (1 error)"
    assert summary([warning]) == "1 problem (0 errors)"


def test_every_code_has_a_meaning():
    for code, meaning in CODES.items():
        assert code[0] in "EW", code
        assert code[1:].isdecimal(), code
        assert meaning, code
