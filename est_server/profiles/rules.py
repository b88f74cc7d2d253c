"""Rules of a profile: vetoes in the Common Expression Language.

A rule can only refuse: what a certificate says is made by the profile's declarations. The sizes of
what an expression sees are capped where the request is read, since the evaluator holds the
interpreter while it runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.profiles.model import Rule

_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_]+)*)\}")
INSTALL = "pip install 'est-server[policy]'"


@dataclass(frozen=True, slots=True)
class CelRule:
    """A compiled rule; see `est_server.profiles.profile.CompiledRule`."""

    name: str
    message: str
    program: Any

    def refusal(self, facts: Mapping[str, Any]) -> str | None:
        """Return None if the expression is true, else the message; an error refuses."""
        try:
            holds = self.program.execute(dict(facts))
        except Exception as error:  # noqa: BLE001 - whatever the evaluator raises, it refuses
            return f"{fill(self.message, facts)} (the rule could not be evaluated: {error})"
        return None if holds is True else fill(self.message, facts)


def compile_rule(rule: Rule) -> CelRule:
    """Compile one rule.

    Raises:
        ValueError: the expression is not CEL.
        ModuleNotFoundError: the evaluator is not installed; the text says how.
    """
    try:
        import cel  # noqa: PLC0415 - an extra, loaded when a profile has rules
    except ImportError as error:
        raise ModuleNotFoundError(f"profiles with rules need: {INSTALL}") from error
    try:
        program = cel.compile(rule.when)
    except Exception as error:
        raise ValueError(f"not a CEL expression: {error}") from error
    return CelRule(rule.name, rule.message, program)


def fill(message: str, facts: Mapping[str, Any]) -> str:
    """Return `message` with ``{device.id}`` and the like filled in; unknown ones stay as they are.

    Only mappings are walked: a placeholder can't reach into an object.
    """

    def value(match: re.Match[str]) -> str:
        found: Any = facts
        for part in match[1].split("."):
            if not hasattr(found, "get") or (found := found.get(part)) is None:
                return match[0]
        return str(found)[:200]

    return _PLACEHOLDER.sub(value, message)
