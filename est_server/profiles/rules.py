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
    from collections.abc import Sequence

    from est_server.profiles.model import Rule

INSTALL = "pip install 'est-server[policy]'"
_PLACEHOLDER = re.compile(r"\{([a-z_]+(?:\.[A-Za-z0-9_-]+)*)\}")
_UNKNOWN = "Undefined variable or function"


@dataclass(frozen=True, slots=True)
class CelRule:
    """A rule of a profile, ready to run; made by `compile_rule`.

    Attributes:
        name: the rule's name.
        message: told to the device, with placeholders.
        program: the evaluator's own form of the expression.
    """

    name: str
    message: str
    program: Any


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


def value(rule: CelRule, facts: Mapping[str, Any]) -> bool | None:
    """Return what an expression gives for `facts`; None if that is no boolean, or nothing."""
    import cel  # noqa: PLC0415 - an extra; there is an expression, so it is there

    try:
        found = rule.program.execute(cel.Context(variables=dict(facts)))
    except Exception:  # noqa: BLE001 - whatever the evaluator raises, it gives nothing
        return None
    return found if isinstance(found, bool) else None


def refusals(rules: Sequence[CelRule], facts: Mapping[str, Any]) -> list[str | None]:
    """Return, for each rule, None if it holds for `facts`, else the message for the device.

    Never raises: an expression that can't be evaluated refuses (fail closed).
    """
    import cel  # noqa: PLC0415 - an extra; there are rules, so it is there

    try:
        context = cel.Context(variables=dict(facts))
    except Exception as error:  # noqa: BLE001 - whatever the evaluator raises, it refuses
        return [_not_evaluated(rule, facts, error) for rule in rules]
    return [_refusal(rule, context, facts) for rule in rules]


def _refusal(rule: CelRule, context: Any, facts: Mapping[str, Any]) -> str | None:
    try:
        found = rule.program.execute(context)
    except Exception as error:  # noqa: BLE001 - see above
        return _not_evaluated(rule, facts, error)
    if found is True:
        return None
    message = fill(rule.message, facts)
    return message if found is False else f"{message} (gave {shown(repr(found))}, no boolean)"


def _not_evaluated(rule: CelRule, facts: Mapping[str, Any], error: Exception) -> str:
    return f"{fill(rule.message, facts)} (not evaluated: {shown(str(error))})"


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
