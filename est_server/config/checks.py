"""What a profile must not say, beyond its form: everything here stops a start or a reload."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from est_server.config.validate import did_you_mean, shown
from est_server.enrollment.responder import RESPONDER
from est_server.errors import Problem
from est_server.profiles.mistakes import Mistake, mistakes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from est_server.config.document import Document
    from est_server.config.mending import Content
    from est_server.config.profile_files import ProfileFile
    from est_server.profiles.model import ProfileModel
    from est_server.profiles.profile import ConfigPath

DEFAULT_LABEL = "default"
RESERVED_LABELS = frozenset(
    {
        "cacerts",
        "simpleenroll",
        "simplereenroll",
        "csrattrs",
        "serverkeygen",
        "fullcmc",
        "nonce",
        "renewal-info",
    }
)
"""Names of EST operations, now and soon: none may be a label (RFC 7030 3.2.2)."""

_LABEL = re.compile(r"[0-9a-zA-Z_\-.~!$&'()*+,;:=]{1,128}")
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_OF_WHOLE_SECTIONS = {"authenticate": "E215", "subject": "E205"}
_BY_LAST = {"trust": "E201", "from": "E218"}
_BY_FIRST = {
    "ca": "E200",
    "labels": "E203",
    "key": "E204",
    "server_key_generation": "E204",
    "rules": "E206",
    "certificate": "E219",
    "csr_attributes": "E220",
}


def check_profile(
    document: Document,
    name: str,
    content: Content[ProfileModel],
    cas: set[str] | None,
    trust: set[str] | None,
) -> Iterator[Problem]:
    """Yield what is wrong with one profile.

    Args:
        document: its file.
        name: the file's stem.
        content: what it says.
        cas: names of the CAs in server.yaml; None if they can't be told.
        trust: names of the trust stores, likewise.
    """
    if name == RESPONDER:
        text = f"{name!r} is what this server's own certificates are under"
        yield Problem(document.value(), "E216", text)
    if not _PROFILE_NAME.fullmatch(name):
        text = f"{name!r}: a profile's file is named in lower case, digits, dots and dashes"
        yield Problem(document.value(), "E216", text)
    model = content.model
    for mistake in (*_references(model, cas, trust), *_labels(model), *mistakes(model)):
        if content.tells(mistake.path, *mistake.also):
            yield _problem(document, _code(mistake.path), mistake)


def _code(path: ConfigPath) -> str:
    """Return the code for a mistake at this place of a profile."""
    first, last = str(path[0]), str(path[-1])
    if len(path) == 1 and first in _OF_WHOLE_SECTIONS:
        return _OF_WHOLE_SECTIONS[first]
    return _BY_LAST.get(last) or _BY_FIRST.get(first, "E207")


def _problem(document: Document, code: str, mistake: Mistake) -> Problem:
    text = f"{shown(mistake.path)}: {mistake.message}"
    return Problem(document.value(*mistake.path), code, text, mistake.hint)


def check_labels(
    profiles: Mapping[str, ProfileFile],
) -> tuple[dict[str | None, str], list[Problem]]:
    """Return which profile each label names (None: the URL without one), and what clashes."""
    labels: dict[str | None, str] = {}
    problems: list[Problem] = []
    for name, file in profiles.items():
        for index, label in enumerate(file.model.labels):
            path = ("labels", index)
            if not file.content.tells(path):
                continue
            if label in labels:
                text = f"profile {labels[label]!r} has label {label!r} already"
                problems.append(_problem(file.document, "E202", Mistake(path, text)))
                continue
            labels[label] = name
            if label == DEFAULT_LABEL:
                labels[None] = name
    return labels, problems


def check_alternates(profiles: Mapping[str, ProfileFile], names: set[str]) -> Iterator[Problem]:
    """Yield profiles that others name and that are not there.

    Args:
        profiles: those that can be read.
        names: of all profiles.
    """
    for file in profiles.values():
        renewal = file.model.reenroll
        for index, wanted in enumerate(renewal.alternates if renewal else ()):
            if wanted not in names:
                hint = did_you_mean(wanted, sorted(names), wanted="profiles")
                path = ("reenroll", "alternates", index)
                text = f"there is no profile {wanted!r}"
                yield _problem(file.document, "E221", Mistake(path, text, hint))


def _references(
    model: ProfileModel, cas: set[str] | None, trust: set[str] | None
) -> Iterator[Mistake]:
    if cas is not None and model.ca not in cas:
        hint = did_you_mean(model.ca, sorted(cas), wanted="CAs in server.yaml")
        yield Mistake(("ca",), f"there is no CA {model.ca!r}", hint)
    named: dict[ConfigPath, str] = {
        ("authenticate", index, "client_certificate"): method.client_certificate.trust
        for index, method in enumerate(model.authenticate)
        if method.client_certificate is not None
    }
    for index, other in enumerate(model.reenroll.other_cas if model.reenroll else ()):
        named["reenroll", "other_cas", index] = other.trust
    for path, name in named.items():
        if trust is not None and name not in trust:
            hint = did_you_mean(name, sorted(trust), wanted="trust stores in server.yaml")
            yield Mistake((*path, "trust"), f"there is no trust store {name!r}", hint)


def _labels(model: ProfileModel) -> Iterator[Mistake]:
    for index, label in enumerate(model.labels):
        path = ("labels", index)
        if label.lower() in RESERVED_LABELS:
            text = f"{label!r} is an operation of EST (RFC 7030 3.2.2)"
            yield Mistake(path, text, "take another name")
        elif not _LABEL.fullmatch(label) or label in {".", ".."}:
            text = f"{label[:60]!r} does not fit into a URL"
            yield Mistake(path, text, "at most 128 letters, digits and _-.~!$&'()*+,;:=")
