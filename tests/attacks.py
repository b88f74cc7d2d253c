"""The numbered attacks on attestation: their texts, and the tests that show them refused.

    @attack(57)
    def test_...

tags a test with the attack that it makes; one test may make several.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

attack = pytest.mark.attack


def attacks() -> dict[int, str]:
    """Return the attacks' texts by number."""
    content = tomllib.loads((TESTS / "attestation" / "attacks.toml").read_text())
    content.pop("unproven")
    return {int(number): text for group in content.values() for number, text in group.items()}


def unproven() -> dict[int, str]:
    """Return why an attack has no test, by number."""
    content = tomllib.loads((TESTS / "attestation" / "attacks.toml").read_text())
    return {int(number): text for number, text in content["unproven"].items()}


def attacked() -> dict[int, list[str]]:
    """Return where each number is tagged, read from the tests' source."""
    found: dict[int, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "attack":
                for number in (one.value for one in node.args if isinstance(one, ast.Constant)):
                    where = f"{path.relative_to(TESTS)}:{node.lineno}"
                    found.setdefault(number, []).append(where)
    return found
