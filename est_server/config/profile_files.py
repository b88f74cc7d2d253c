"""The profiles: every ``*.yaml`` in their folder, each for itself and then together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from est_server.config.checks import check_alternates, check_labels, check_profile
from est_server.config.lints import lint_profile
from est_server.config.mending import PROFILE_STAND_INS
from est_server.config.server_file import section
from est_server.config.validate import shown
from est_server.errors import Problem
from est_server.profiles.model import ProfileModel, Rule
from est_server.profiles.rules import compile_rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from est_server.config.document import Document
    from est_server.config.files import Files
    from est_server.config.mending import Content
    from est_server.profiles.profile import ConfigPath
    from est_server.profiles.rules import CelRule

_CEL_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?: expecting \{.*)?$", re.MULTILINE)


class ProfileFile(NamedTuple):
    """A profile as loaded: its content, and its text with the place of each part."""

    content: Content[ProfileModel]
    document: Document

    @property
    def model(self) -> ProfileModel:
        """What the file says, or as much of it as can be told."""
        return self.content.model

    @property
    def text(self) -> str:
        """The file."""
        return self.document.text


class Profiles(NamedTuple):
    """All profiles: by name, their compiled expressions by name, and which one a label names.

    Attributes:
        files: those that are well formed.
        mended: what can be told of the others.
        rules: compiled.
        approvals: likewise.
        labels: a label, or None for the URL without one, and the profile's name.
    """

    files: dict[str, ProfileFile]
    mended: dict[str, ProfileFile]
    rules: dict[str, tuple[CelRule, ...]]
    approvals: dict[str, CelRule]
    labels: dict[str | None, str]


def read_profiles(files: Files, server_document: Document) -> Profiles:
    """Read the folder that server.yaml names, or ``profiles`` if that can't be told."""
    named = server_document.node(("profiles",))
    folder = files.folder / (named if isinstance(named, str) else "profiles")
    at = server_document.value("profiles")
    found = Profiles({}, {}, {}, {}, {})
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
        document, content = files.document(path, ProfileModel, PROFILE_STAND_INS)
        if content is None:
            continue
        file = ProfileFile(content, document)
        problems = list(_check(file, path, server_document))
        found.rules[path.stem] = _rules(file, problems)
        if (approval := _approval(file, problems)) is not None:
            found.approvals[path.stem] = approval
        if content.sound:
            found.files[path.stem] = file
            files.extend(problems or lint_profile(document, content.model))
        else:
            found.mended[path.stem] = file
            files.extend(problems)
    everyone = found.files | found.mended
    labels, clashes = check_labels(dict(sorted(everyone.items())))
    found.labels.update(labels)
    files.extend([*clashes, *check_alternates(everyone, {path.stem for path in paths})])
    return found


def _check(file: ProfileFile, path: Path, server_document: Document) -> Iterator[Problem]:
    known = isinstance(server_document.data, dict)
    cas = set(section(server_document, "cas")) if known else None
    trust = set(section(server_document, "trust")) if known else None
    return check_profile(file.document, path.stem, file.content, cas, trust)


def _rules(file: ProfileFile, problems: list[Problem]) -> tuple[CelRule, ...]:
    compiled = (
        _compiled(file, rule, ("rules", index, "when"), problems)
        for index, rule in enumerate(file.model.rules)
    )
    return tuple(rule for rule in compiled if rule is not None)


def _approval(file: ProfileFile, problems: list[Problem]) -> CelRule | None:
    if (when := file.model.approval.when) is None:
        return None
    rule = Rule(name="approval", when=when, message="approval")
    return _compiled(file, rule, ("approval", "when"), problems)


def _compiled(
    file: ProfileFile, rule: Rule, path: ConfigPath, problems: list[Problem]
) -> CelRule | None:
    document = file.document
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
