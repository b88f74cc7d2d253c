"""What a profile must not say, beyond its form: everything here stops a start or a reload."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from est_server.config.validate import did_you_mean, shown
from est_server.enrollment.responder import RESPONDER
from est_server.errors import Problem
from est_server.profiles.mistakes import mistakes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from est_server.config.document import Document
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


def check_profile(
    document: Document, name: str, model: ProfileModel, cas: set[str] | None, trust: set[str] | None
) -> Iterator[Problem]:
    """Yield what is wrong with one profile.

    Args:
        document: its file.
        name: the file's stem.
        model: its content.
        cas: names of the CAs in server.yaml; None if they can't be told.
        trust: names of the trust stores, likewise.
    """
    check = _Check(document)
    if name == RESPONDER:
        yield check.problem("E216", f"{name!r} is what this server's own certificates are under")
    if not _PROFILE_NAME.fullmatch(name):
        text = f"{name!r}: a profile's file is named in lower case, digits, dots and dashes"
        yield check.problem("E216", text)
    yield from _references(check, model, cas, trust)
    yield from _labels(check, model)
    for mistake in mistakes(model):
        yield check.problem(_code(mistake.path), mistake.message, mistake.hint, *mistake.path)


def _code(path: ConfigPath) -> str:
    """Return the code for a mistake at this place of a profile."""
    match path:
        case ("authenticate",):
            return "E215"
        case ("subject",):
            return "E205"
        case ("key", *_) | ("server_key_generation", *_):
            return "E204"
        case ("rules", *_):
            return "E206"
        case ("certificate", *_):
            return "E219"
        case ("csr_attributes", *_):
            return "E220"
        case (*_, "from"):
            return "E218"
    return "E207"


class _Check:
    """Makes problems of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def problem(self, code: str, text: str, hint: str | None = None, *path: str | int) -> Problem:
        lead = f"{shown(path)}: " if path else ""
        return Problem(self.document.value(*path), code, lead + text, hint)


def check_labels(
    profiles: Mapping[str, tuple[ProfileModel, Document]],
) -> tuple[dict[str | None, str], list[Problem]]:
    """Return which profile each label names (None: the URL without one), and what clashes."""
    labels: dict[str | None, str] = {}
    problems: list[Problem] = []
    for name, (model, document) in profiles.items():
        for index, label in enumerate(model.labels):
            if label in labels:
                text = f"profile {labels[label]!r} has label {label!r} already"
                path = ("labels", index)
                problems.append(_Check(document).problem("E202", text, None, *path))
                continue
            labels[label] = name
            if label == DEFAULT_LABEL:
                labels[None] = name
    return labels, problems


def check_alternates(
    profiles: Mapping[str, tuple[ProfileModel, Document]],
) -> Iterator[Problem]:
    """Yield profiles that others name and that are not there."""
    for model, document in profiles.values():
        for index, wanted in enumerate(model.reenroll.alternates if model.reenroll else ()):
            if wanted not in profiles:
                hint = did_you_mean(wanted, sorted(profiles), wanted="profiles")
                path = ("reenroll", "alternates", index)
                text = f"there is no profile {wanted!r}"
                yield _Check(document).problem("E221", text, hint, *path)


def _references(
    check: _Check, model: ProfileModel, cas: set[str] | None, trust: set[str] | None
) -> Iterator[Problem]:
    if cas is not None and model.ca not in cas:
        hint = did_you_mean(model.ca, sorted(cas), wanted="CAs in server.yaml")
        yield check.problem("E200", f"there is no CA {model.ca!r}", hint, "ca")
    for index, method in enumerate(model.authenticate):
        wanted = method.client_certificate
        if wanted is not None and trust is not None and wanted.trust not in trust:
            hint = did_you_mean(wanted.trust, sorted(trust), wanted="trust stores in server.yaml")
            path = ("authenticate", index, "client_certificate", "trust")
            yield check.problem("E201", f"there is no trust store {wanted.trust!r}", hint, *path)
    for index, other in enumerate(model.reenroll.other_cas if model.reenroll else ()):
        if trust is not None and other.trust not in trust:
            hint = did_you_mean(other.trust, sorted(trust), wanted="trust stores in server.yaml")
            text = f"there is no trust store {other.trust!r}"
            yield check.problem("E201", text, hint, "reenroll", "other_cas", index, "trust")


def _labels(check: _Check, model: ProfileModel) -> Iterator[Problem]:
    for index, label in enumerate(model.labels):
        path = ("labels", index)
        if label.lower() in RESERVED_LABELS:
            text = f"{label!r} is an operation of EST (RFC 7030 3.2.2)"
            yield check.problem("E203", text, "take another name", *path)
        elif not _LABEL.fullmatch(label) or label in {".", ".."}:
            text = f"{label[:60]!r} does not fit into a URL"
            hint = "at most 128 letters, digits and _-.~!$&'()*+,;:="
            yield check.problem("E203", text, hint, *path)
