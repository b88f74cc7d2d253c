"""The numbered attacks on attestation: what they are, and the tests that show them refused.

    @attack(57)
    def test_...

tags a test with the attack that it makes; one test may make several.

    python tests/attacks.py

writes the table of them, docs/attestation-attacks.md.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "attestation-attacks.md"
CODE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")

attack = pytest.mark.attack


@dataclass(frozen=True, slots=True)
class Attack:
    """One of them.

    Attributes:
        text: what is attempted.
        outcome: the code that it is refused with, or what happens in place of a refusal.
    """

    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A test that makes attacks.

    Attributes:
        where: its file below tests.
        name: of the function.
        says: the texts in it and in its decorators.
    """

    where: str
    name: str
    says: frozenset[str]


def _listed() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads((TESTS / "attestation" / "attacks.toml").read_text())


def attacks() -> dict[int, Attack]:
    """Return the attacks by number."""
    groups = {name: group for name, group in _listed().items() if name != "unproven"}
    return {int(number): Attack(*one) for group in groups.values() for number, one in group.items()}


def unproven() -> dict[int, str]:
    """Return why an attack has no test, by number."""
    return {int(number): str(text) for number, text in _listed()["unproven"].items()}


@cache
def attacked() -> dict[int, list[Shown]]:
    """Return the tests that are tagged with each number, read from their source."""
    found: dict[int, list[Shown]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                shown = Shown(str(path.relative_to(TESTS)), node.name, frozenset(_texts(node)))
                for number in _numbers(node):
                    found.setdefault(number, []).append(shown)
    return found


def _numbers(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[int]:
    return [
        argument.value
        for call in node.decorator_list
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "attack"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, int)
    ]


def _texts(node: ast.AST) -> list[str]:
    values = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
    found = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]
    return [value for value in found if isinstance(value, str)]


_HEAD = """\
# The attacks on evidence

Each of the numbered attacks, the code that it is refused with, and the tests that make it; those of
the first group with real (software) TPMs, two of them where something is swapped. `make
attestation-mutations` removes each check once and sees its tests fail. `python tests/attacks.py`
writes this page from `tests/attestation/attacks.toml` and the tests; a test holds it to them.
"""


def table() -> str:
    """Return the page."""
    shown, reasons = attacked(), unproven()
    lines = [_HEAD]
    for group, members in _listed().items():
        if group == "unproven":
            continue
        lines += [f"\n## {group.capitalize()}\n", "| | attack | outcome | shown by |", "|-|-|-|-|"]
        for number, (text, outcome) in members.items():
            tests = {f"`{one.where.rpartition('/')[2]}::{one.name}`": None for one in
                     shown.get(int(number), [])}  # fmt: skip
            by = ", ".join(tests) or f"not shown: {reasons.get(int(number), '')}"
            said = f"`{outcome}`" if CODE.fullmatch(outcome) else outcome
            lines.append(f"| {number} | {text} | {said} | {by} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table())
