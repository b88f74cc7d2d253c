"""YAML as text with positions: est_server.config.yaml_nodes."""

from __future__ import annotations

import pytest

from est_server.config.composer import DEEPEST, MOST_NODES
from est_server.config.document import BROKEN
from est_server.config.yaml_nodes import LARGEST, position_at, read_yaml, split_lines
from est_server.errors import Position


def read(text: str | bytes):
    return read_yaml(text.encode() if isinstance(text, str) else text, "f.yaml")


def found(text: str | bytes) -> list[tuple[str, int, int]]:
    return [
        (problem.code, problem.position.line, problem.position.column)
        for problem in read(text).problems
    ]


def test_every_scalar_is_text():
    document = read(
        'a: 12:34:56\nb: 1.30\nc: NO\nd: 0x10\ne: 2026-01-01\nf: "null"\ng: |\n  x\n  y\n'
    )
    assert document.problems == ()
    assert document.data == {
        "a": "12:34:56",
        "b": "1.30",
        "c": "NO",
        "d": "0x10",
        "e": "2026-01-01",
        "f": "null",
        "g": "x\ny\n",
    }


def test_keys_and_values_have_positions():
    document = read("# comment\na:\n  - x\n  - {b: ü, ç: y}\n")
    assert document.data == {"a": ["x", {"b": "ü", "ç": "y"}]}
    at = {path: (p.line, p.column) for path, p in document.values.items()}
    assert at == {
        (): (2, 1),
        ("a",): (3, 3),
        ("a", 0): (3, 5),
        ("a", 1): (4, 5),
        ("a", 1, "b"): (4, 9),
        ("a", 1, "ç"): (4, 15),
    }
    keys = {path: (p.line, p.column) for path, p in document.keys.items()}
    assert keys == {("a",): (2, 1), ("a", 1, "b"): (4, 6), ("a", 1, "ç"): (4, 12)}


def test_what_is_not_written_is_at_its_nearest_ancestor():
    document = read("a: {b: [x]}\n")
    assert document.key("a", "b", 0) == Position("f.yaml", 1, 9)
    assert document.key("a", "c", "d") == Position("f.yaml", 1, 1)
    assert document.value("a", "b") == Position("f.yaml", 1, 5), "a section is found by its key"
    assert document.value("z") == Position("f.yaml", 1, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [("E101", 3, 1)]),
        ("a: {b: 1, c: 2, b: 3}\n", [("E101", 1, 17)]),
        ("a: &x 1\nb: *x\n", [("E102", 1, 4), ("E102", 2, 4)]),
        ("a: !!int 1\n", [("E102", 1, 4)]),
        ("a: ! 1\n", [("E102", 1, 4)]),
        ("a: !x {}\n", [("E102", 1, 4)]),
        ("a: &x []\n", [("E102", 1, 4)]),
        ("<<: {a: 1}\n", [("E102", 1, 1)]),
        ("a: 1\n---\nb: 2\n", [("E102", 2, 1)]),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", [("E102", 1, 1)]),
        ("? [a]\n: b\nc: d\n", [("E102", 1, 3)]),
        ("? {a: b}\n: {c: d}\n", [("E102", 1, 3)]),
        ("*x : b\n", [("E102", 1, 1)]),
        ("a:\n", [("E103", 1, 3)]),
        ("a: ~\n", [("E103", 1, 4)]),
        ("a: null\n", [("E103", 1, 4)]),
        ("a: [x, ]\n- b\n", [("E100", 2, 1)]),
        ("a:\n  - \n  - x\n", [("E103", 2, 4)]),
        ("? \n: x\n", [("E103", 1, 2)]),
        ("", [("E103", 1, 1)]),
        ("# nothing\n", [("E103", 1, 1)]),
        ("text\n", [("E104", 1, 1)]),
        ("- a\n", [("E104", 1, 1)]),
        ("a: [1,\n", [("E100", 2, 1)]),
        ("a: 'x\nb: 1\n", [("E100", 1, 4)]),
        ("a:\n\tb: 1\n", [("E100", 2, 1)]),
        ("a: b: c\n", [("E100", 1, 5)]),
        ("a: *.example.net\n", [("E100", 1, 5)]),
        ("a: @x\n", [("E100", 1, 4)]),
        ('a: "\\uD800"\n', [("E100", 1, 4)]),
        ('a: "\\x1b[2J"\n', [("E100", 1, 4)]),
        ('"\\0": x\n', [("E100", 1, 1)]),
        ('a: 1\nb: "\\UFFFFFFFF"\n', [("E100", 2, 7)]),
        (b"a: 1\nb: \xff\n", [("E100", 2, 4)]),
        ("a: 1\nb: x\x07\n", [("E100", 2, 5)]),
        ("a".encode("utf-16"), [("E100", 1, 1)]),
    ],
)
def test_what_is_refused_and_where(text, expected):
    assert found(text) == expected


def test_all_problems_come_in_one_run_and_the_rest_is_read():
    document = read("a: 1\na: 2\nb: *x\nc:\nd: !t 5\ne: ok\n")
    assert [problem.code for problem in document.problems] == ["E101", "E102", "E103", "E102"]
    assert document.data == {"a": "1", "b": BROKEN, "c": BROKEN, "d": "5", "e": "ok"}


def test_what_follows_a_refused_key_is_thrown_away_with_it():
    document = read("a: 1\na: {b: [c, {d: e}]}\n? [x, {y: z}]\n: {v: w}\nf: g\n")
    assert document.data == {"a": "1", "f": "g"}
    assert set(document.values) == {(), ("a",), ("f",)}


def test_a_pattern_without_quotes_gets_the_hint_that_it_needs():
    (problem,) = read("allow: [*.example.net]\n").problems
    assert problem.hint == 'text that begins with * needs quotes: "*.example.net"'


def test_a_byte_order_mark_and_windows_lines_are_read():
    document = read(b"\xef\xbb\xbfa: 1\r\nb:\r\n  - x\r\n")
    assert document.problems == ()
    assert document.data == {"a": "1", "b": ["x"]}
    assert document.values[("b", 0)] == Position("f.yaml", 3, 5)


def test_a_billion_laughs_are_refused_before_they_are_told():
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{n}: &a{n} [" + f"*a{n - 1}, " * 9 + f"*a{n - 1}]" for n in range(1, 30)]
    document = read("\n".join(lines))
    assert document.data["a29"] == [BROKEN] * 10
    assert {problem.code for problem in document.problems} == {"E102"}


def test_sizes_are_bounded():
    assert found(b"#" * (LARGEST + 1)) == [("E108", 1, 1)]
    assert found("a: " + "[" * DEEPEST + "]" * DEEPEST) == [("E108", 1, 3 + DEEPEST)]
    assert found("a: [" + "x," * MOST_NODES + "]")[0][0] == "E108"
    assert read("a: " + "[" * 100_000).data is BROKEN


def test_lines_are_those_of_yaml():
    text = "a\r\nb\nc\rd\u2028e"
    assert split_lines(text) == ["a", "b", "c", "d", "e"]
    assert position_at(text, text.index("e"), "f") == Position("f", 5, 1)
    assert position_at(text, 1, "f") == Position("f", 1, 2)
