"""Claims against reference values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from est_server.ports.verifier import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from est_server.attestation.policy import Expectation
    from est_server.ports.verifier import Json

_VERSION = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18}){0,15}")
_LONGEST = 200
ABSENT = "absent"


def expectation_check(claims: Mapping[str, Json], wanted: Expectation) -> Check:
    """Return whether a claim is what the policy wants; a claim that is not there is not.

    Of a list, every item has to be so, and there has to be one.
    """
    found = claim_texts(claims, wanted.claim)
    return Check(
        code="reference-value",
        expected=f"{wanted.claim} {' and '.join(_wanted(wanted))}",
        actual=", ".join(found)[:_LONGEST] or ABSENT,
        passed=bool(found) and all(_fits(text, wanted) for text in found),
        rating=wanted.otherwise,
    )


def claim_texts(claims: Mapping[str, Json], name: str) -> list[str]:
    """Return a claim's values as texts; none where it is absent, null or a section."""
    node: Any = claims
    for part in name.split("."):
        if not isinstance(node, dict) and node is not claims:
            return []
        node = node.get(part)
    values = node if isinstance(node, list) else [node]
    texts = [_text(value) for value in values]
    return [text for text in texts if text is not None] if None not in texts else []


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _wanted(wanted: Expectation) -> Iterator[str]:
    if wanted.equals is not None:
        yield f"= {wanted.equals}"
    if wanted.one_of is not None:
        yield f"in {', '.join(wanted.one_of)}"
    if wanted.none_of is not None:
        yield f"not in {', '.join(wanted.none_of)}"
    if wanted.at_least is not None:
        yield f">= {wanted.at_least}"
    if wanted.at_most is not None:
        yield f"<= {wanted.at_most}"


def _fits(text: str, wanted: Expectation) -> bool:
    if wanted.equals is not None and text != wanted.equals:
        return False
    if wanted.one_of is not None and text not in wanted.one_of:
        return False
    if wanted.none_of is not None and text in wanted.none_of:
        return False
    if wanted.at_least is None and wanted.at_most is None:
        return True
    if not _VERSION.fullmatch(text):
        return False  # what can't be compared is not enough
    found = _version(text)
    if wanted.at_least is not None and found < _version(wanted.at_least):
        return False
    return wanted.at_most is None or found <= _version(wanted.at_most)


def _version(text: str) -> tuple[int, ...]:
    """Return a version to compare: 1.4 and 1.4.0 are the same."""
    numbers = [int(part) for part in text.split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
