"""The profiles: every ``*.yaml`` in their folder, each for itself and then together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from est_server.config.checks import check_alternates, check_labels, check_profile
from est_server.config.lints import lint_profile
from est_server.config.server_file import section
from est_server.config.validate import shown
from est_server.errors import Problem
from est_server.profiles.model import ProfileModel, Rule
from est_server.profiles.rules import compile_rule

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.config.document import Document
    from est_server.config.files import Files
    from est_server.profiles.profile import ConfigPath
    from est_server.profiles.rules import CelRule

_CEL_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?: expecting \{.*)?$", re.MULTILINE)


class ProfileFile(NamedTuple):
    """A profile as loaded: its content, its text, and where each part of it stands."""

    model: ProfileModel
    text: str
    document: Document


class Profiles(NamedTuple):
    """All profiles: by name, their compiled expressions by name, and which one a label names."""

    files: dict[str, ProfileFile]
    rules: dict[str, tuple[CelRule, ...]]
    approvals: dict[str, CelRule]
    labels: dict[str | None, str]


def read_profiles(files: Files, server_document: Document) -> Profiles:
    """Read the folder that server.yaml names, or ``profiles`` if that can't be told."""
    named = server_document.node(("profiles",))
    folder = files.folder / (named if isinstance(named, str) else "profiles")
    at = server_document.value("profiles")
    found = Profiles({}, {}, {}, {})
    try:
        paths = sorted(
            path
            for path in folder.iterdir()
            if path.suffix == ".yaml" and not path.name.startswith(".")
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        files.error(at, "E109", f"profiles: the folder {folder.name} can't be read: {reason}")
        return found
    if not paths:
        files.error(at, "E217", f"profiles: there is no *.yaml in {folder.name}")
    for path in paths:
        document, model = files.document(path, ProfileModel)
        if model is None:
            continue
        problems = list(_check(document, path, model, server_document))
        rules = _rules(document, model, problems)
        approval = _approval(document, model, problems)
        files.extend(problems or lint_profile(document, model))
        found.files[path.stem] = ProfileFile(model, document.text, document)
        found.rules[path.stem] = rules
        if approval is not None:
            found.approvals[path.stem] = approval
    models = {name: (file.model, file.document) for name, file in found.files.items()}
    labels, clashes = check_labels(models)
    found.labels.update(labels)
    files.extend([*clashes, *check_alternates(models)])
    return found


def _check(
    document: Document, path: Path, model: ProfileModel, server_document: Document
) -> list[Problem]:
    known = isinstance(server_document.data, dict)
    cas = set(section(server_document, "cas")) if known else None
    trust = set(section(server_document, "trust")) if known else None
    return [*check_profile(document, path.stem, model, cas, trust)]


def _rules(document: Document, model: ProfileModel, problems: list[Problem]) -> tuple[CelRule, ...]:
    compiled = (
        _compiled(document, rule, ("rules", index, "when"), problems)
        for index, rule in enumerate(model.rules)
    )
    return tuple(rule for rule in compiled if rule is not None)


def _approval(document: Document, model: ProfileModel, problems: list[Problem]) -> CelRule | None:
    if (when := model.approval.when) is None:
        return None
    rule = Rule(name="approval", when=when, message="approval")
    return _compiled(document, rule, ("approval", "when"), problems)


def _compiled(
    document: Document, rule: Rule, path: ConfigPath, problems: list[Problem]
) -> CelRule | None:
    try:
        return compile_rule(rule)
    except ModuleNotFoundError as error:
        text = f"{shown(path)}: {error}"
        problems.append(Problem(document.value(*path), "E209", text))
    except ValueError as error:
        match = _CEL_ERROR.search(str(error))
        said = f"not CEL: character {match[2]}: {match[3]}" if match else str(error)
        text = f"{shown(path)}: {said}"
        problems.append(Problem(document.value(*path), "E208", text))
    return None
