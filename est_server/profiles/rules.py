"""Rules of a profile: vetoes in the Common Expression Language.

A rule can only refuse: what a certificate says is made by the profile's declarations. An
expression that can't be evaluated, or that gives anything but true, refuses too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.profiles.facts import EXAMPLE
from est_server.profiles.texts import shown

if TYPE_CHECKING:
    from est_server.profiles.model import Rule

INSTALL = "pip install 'est-server[policy]'"
_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_-]+)*)\}")
_UNKNOWN = "Undefined variable or function"


@dataclass(frozen=True, slots=True)
class CelRule:
    """A compiled rule; see `est_server.profiles.profile.CompiledRule`."""

    name: str
    message: str
    program: Any

    def refusal(self, facts: Mapping[str, Any]) -> str | None:
        """Return None if the expression is true, else the message with the reason; never raises."""
        try:
            found = self.program.execute(dict(facts))
        except Exception as error:  # noqa: BLE001 - whatever the evaluator raises, it refuses
            return f"{fill(self.message, facts)} (not evaluated: {shown(str(error))})"
        if found is True:
            return None
        message = fill(self.message, facts)
        return message if found is False else f"{message} (gave {shown(repr(found))}, no boolean)"


def compile_rule(rule: Rule) -> CelRule:
    """Compile one rule and try it once, so that a misspelt name is found before a device asks.

    Attributes of devices are not known here: a rule that reads one that a device lacks refuses it.

    Raises:
        ValueError: the expression is not CEL, names something that is not there, or gives no
            boolean.
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
    try:
        found = program.execute(dict(EXAMPLE))
    except Exception as error:
        if str(error).startswith(_UNKNOWN):
            raise ValueError(str(error).partition(". ")[0]) from error
        found = True  # another example might do
    if not isinstance(found, bool):
        raise ValueError(f"gives {type(found).__name__}, not true or false")  # noqa: TRY004 - a text
    return CelRule(rule.name, rule.message, program)


def fill(message: str, facts: Mapping[str, Any]) -> str:
    """Return `message` with ``{device.id}`` and the like filled in; unknown ones stay as they are.

    Only mappings are walked: a placeholder can't reach into an object.
    """

    def value(match: re.Match[str]) -> str:
        found: Any = facts
        for part in match[1].split("."):
            if not isinstance(found, Mapping) or part not in found:
                return match[0]
            found = found[part]
        return match[0] if isinstance(found, Mapping) else shown(str(found))

    return _PLACEHOLDER.sub(value, message)
