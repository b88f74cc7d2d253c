"""Problems of the configuration: their codes, and how they are shown.

A problem reads ``file:line:column: error[E104]: key.allow.0: … hint: …``. Codes are part of the
product's contract: they are never renamed, and docs/configuration.md has a line for each.
"""

from __future__ import annotations

import re
import unicodedata
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from est_server.config.yaml_nodes import LARGEST, split_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from est_server.errors import Problem

CODES: Mapping[str, str] = MappingProxyType(
    {
        "E100": "the file is not YAML in UTF-8",
        "E101": "a key is in its section twice",
        "E102": "something of YAML that is not read here: alias, anchor, tag, merge key, several "
        "documents, a key that is not text",
        "E103": "a value is missing",
        "E104": "a value is not what the key takes",
        "E105": "a key is unknown here",
        "E106": "a key is missing",
        "E107": "a secret is written out where file:PATH or env:NAME belongs",
        "E108": "the file is too large or too deep",
        "E109": "a file or folder can't be read",
        "E200": "a profile names a CA that server.yaml does not have",
        "E201": "a profile names a trust store that server.yaml does not have",
        "E202": "a label is taken already",
        "E203": "a label can't be used in a URL of EST",
        "E204": "a key algorithm is unknown",
        "E205": "certificates of this profile would have no name at all",
        "E206": "two rules have the same name",
        "E207": "a pattern, a network or a fixed name can't be read",
        "E208": "a rule is not an expression of CEL, or not one that is true or false",
        "E209": "something is needed that is not installed",
        "E210": "a CA's backend or a verifier is not installed, or installed twice",
        "E211": "a file of certificates holds something else",
        "E212": "a secret's file is readable by others",
        "E213": "a secret is not there",
        "E214": "two listeners share an address",
        "E215": "nobody could ever use this profile",
        "E216": "the name of a profile's file can't be used",
        "E217": "there is no profile",
        "E218": "a profile takes a value from the device and has no devices",
        "E219": "the certificate's content contradicts itself",
        "E220": "what a request must have contradicts itself",
        "E221": "a profile names another profile that is not there",
        "E240": "a profile requires a channel binding that no connection can have",
        "W201": "certificates can't be used to renew themselves",
        "W202": "certificates would outlive their issuer",
        "W203": "a pattern allows many names, and their number is not set",
        "W204": "names are taken as requested: for interop tests, not for production",
        "W205": "whoever holds a credential chooses the name",
        "W206": "a URL that only works on this machine goes into certificates",
        "W207": "the renewal window is as long as the lifetime: it never closes",
        "W208": "expired certificates renew themselves for longer than they were valid",
        "W209": "a trusted CA certificate has expired",
        "W210": "a pointer is asked for that the CA does not publish",
        "W211": "nobody can enroll, only renew",
        "W212": "a renewed certificate is revoked before its answer is given up for lost",
        "E250": "a profile names an appraisal policy that is not there",
        "E251": "an appraisal policy that no evidence can satisfy",
        "E252": "a profile wants evidence about keys that the server makes",
        "E253": "a policy lets requests wait for a person, and the profile asks nobody",
        "W251": "an appraisal policy lets devices without good evidence through",
        "E270": "a pointer or a section asks for lists that the CA can't publish",
        "E271": "two CAs would publish into the same file",
        "E272": "a profile back-dates certificates further than its CA's compact sets allow",
        "E280": "a profile asks for what its CA can't do",
        "W270": "the next revocation list comes late in the life of the one before",
        "W271": "a delta CRL lives as long as the list that it refers to",
        "W272": "revocation lists are made that nobody can fetch",
        "W273": "certificates name a revocation list and not its delta CRLs",
        "W275": "a key about complete lists that changes nothing without delta CRLs",
        "W230": "a pending request is over before its device asks again",
        "W231": "renewals wait for a person too",
        "W220": "a one-time password that is no second factor",
        "W240": "a profile requires a channel binding that devices behind a proxy don't have",
        "W241": "a profile refuses the anchors of a trust store that it names",
        "W260": "an OCSP responder lives hardly longer than its answers",
        "W261": "OCSP is set up and nobody can ask",
        "W280": "what the ledger holds can be read on its way to the database",
        "W281": "settings of PostgreSQL for a ledger that is a file",
        "W301": "a listener's address changes at the next start, not at a reload",
        "W302": "CAs change at the next start, not at a reload",
        "W303": "the state's place changes at the next start, not at a reload",
    }
)
"""Every code and its meaning."""

_TOKEN = re.compile(r"""("(\\.|[^"\\])*"|'[^']*'|[^\s,\]}{\[#:]+(:[^\s,\]}{\[#:]+)*)""")
_WIDEST = 100


def summary(problems: Sequence[Problem]) -> str:
    """Return ``2 problems (1 error)``."""
    errors = sum(problem.severity == "error" for problem in problems)
    return f"{_count(len(problems), 'problem')} ({_count(errors, 'error')})"


def as_dict(problem: Problem) -> dict[str, Any]:
    """Return a problem in JSON's types: the stable form of ``-o json``."""
    return {
        "code": problem.code,
        "severity": problem.severity,
        "file": problem.position.file,
        "line": problem.position.line,
        "column": problem.position.column,
        "message": problem.message,
        "hint": problem.hint,
    }


def read_sources(problems: Iterable[Problem], known: Mapping[str, str]) -> dict[str, str]:
    """Return the text of every file that `problems` name, for `render`.

    Args:
        problems: what is to be shown.
        known: texts that were read already, by file.
    """
    found: dict[str, str] = {}
    for name in {problem.position.file for problem in problems}:
        if name in known:
            found[name] = known[name]
            continue
        try:
            with open(name, "rb") as file:  # noqa: PTH123 - a message's file name, not a path of ours
                found[name] = file.read(LARGEST).decode("utf-8-sig", "replace")
        except (OSError, ValueError):
            continue
    return found


def render(problems: Sequence[Problem], sources: Mapping[str, str]) -> str:
    """Return problems as people read them, each with its line and a caret.

    Args:
        problems: in the order in which they are shown.
        sources: text of the files by name; a file that is missing is shown without its line. The
            line of a secret that was written out is never shown.
    """
    lines = {name: split_lines(text) for name, text in sources.items()}
    hidden = {(at.file, at.line) for at in (p.position for p in problems if p.code == "E107")}
    shown: list[str] = []
    for problem in problems:
        at = problem.position
        shown.append(_clean(str(problem)))
        text = lines.get(at.file, [])
        if at.line <= len(text) and (at.file, at.line) not in hidden:
            shown.extend(_excerpt(text[at.line - 1], at.line, at.column - 1))
        if problem.hint is not None:
            shown.append(f"   hint: {_clean(problem.hint)}")
    return "\n".join(shown)


def _excerpt(line: str, number: int, column: int) -> tuple[str, str]:
    start = max(0, column - _WIDEST // 2) if len(line) > _WIDEST else 0
    cut = line[start : start + _WIDEST]
    column = min(column - start, len(cut))
    found = _TOKEN.match(cut, column)
    span = cut[column : found.end()] if found else cut[column : column + 1]
    gutter = f"{number:>5}"
    before = " " * _cells(cut[:column])
    carets = "^" * max(1, _cells(span))
    return f"{gutter} | {_clean(cut)}".rstrip(), f"{' ' * len(gutter)} | {before}{carets}"


def _clean(text: str) -> str:
    """Return `text` without what could move a terminal's cursor or turn its direction."""
    return "".join(
        character
        if character.isprintable()
        else " "
        if character.isspace()
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _cells(text: str) -> int:
    """Return how many cells of a terminal `text` takes."""
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
