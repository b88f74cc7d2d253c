"""The numbered conformance cases: their texts, the tests that serve them, and those that wait.

    @case(53)
    def test_...

tags a test with the case that it shows; several tests may serve one case, and one test several.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from kit_expectations import numbers_of_the_kit

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "rfc7030.md"
OTHER_WORK = frozenset({*range(152, 164), *range(179, 183)})
"""Cases that may wait for work that is not RFC 7030's core."""

WAITING = "## Cases that wait for other work"
MISSING = "## Cases that are not built yet"

case = pytest.mark.case


@dataclass(frozen=True, slots=True)
class Section:
    """A letter, what it is about, and the cases' texts by number."""

    letter: str
    title: str
    cases: dict[int, str]


def sections() -> list[Section]:
    content = tomllib.loads((TESTS / "conformance" / "cases.toml").read_text())
    return [
        Section(
            letter,
            str(found.pop("title")),
            {int(number): str(text) for number, text in found.items()},
        )
        for letter, found in content.items()
    ]


def numbers() -> set[int]:
    return {number for section in sections() for number in section.cases}


def tagged() -> dict[int, list[str]]:
    """Return where each number is tagged, read from the tests' source, and what the kit shows."""
    found: dict[int, list[str]] = {number: ["the kit"] for number in numbers_of_the_kit()}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "case":
                for number in (one.value for one in node.args if isinstance(one, ast.Constant)):
                    where = f"{path.relative_to(TESTS)}:{node.lineno}"
                    found.setdefault(number, []).append(where)
    return found


def waiting(heading: str) -> dict[int, str]:
    """Return the rows `| number | reason |` below a heading of docs/rfc7030.md."""
    _, _, below = DOCUMENT.read_text().partition(f"\n{heading}\n")
    text, _, _ = below.partition("\n## ")
    rows = re.findall(r"^\| *([0-9]+)(?:[-–]([0-9]+))? *\| *(.+?) *\|$", text, re.MULTILINE)
    return {
        number: reason
        for first, last, reason in rows
        for number in range(int(first), int(last or first) + 1)
    }
