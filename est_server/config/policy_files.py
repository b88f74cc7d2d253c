"""The appraisal policies: every ``*.yaml`` in their folder, with the verifiers that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from est_server.attestation.policy import Policy, PolicyModel, Rule, RuleModel
from est_server.config.backends import BackendUnusableError, find_verifier
from est_server.config.mending import POLICY_STAND_INS
from est_server.config.server_file import section
from est_server.config.validate import did_you_mean, shown, validate_data
from est_server.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from est_server.config.document import Document
    from est_server.config.files import Files
    from est_server.config.mending import Content
    from est_server.pki.path import TrustStore
    from est_server.ports.verifier import Verifier

_STATUSES = ("contraindicated", "none")


class PolicyFile(NamedTuple):
    """A policy as loaded, and where each part of it stands."""

    policy: Policy
    document: Document


class Policies(NamedTuple):
    """All files of the policies' folder.

    Attributes:
        files: those without a mistake.
        said: what those say that could be read, mended where they have mistakes of form.
        names: of all.
    """

    files: dict[str, PolicyFile]
    said: dict[str, Content[PolicyModel]]
    names: set[str]


class _Verifiers:
    """The verifiers that policies name, each found and set up once."""

    def __init__(
        self, files: Files, server_document: Document, points: tuple[EntryPoint, ...]
    ) -> None:
        self._files = files
        self._document = server_document
        self._points = points
        self._found: dict[str, tuple[Verifier, Any] | None] = {}

    def get(self, name: str, document: Document, index: int) -> tuple[Verifier, Any] | None:
        """Return a verifier and its settings; None with a problem at the rule that names it."""
        if name not in self._found:
            try:
                verifier = find_verifier(name, self._points)
            except BackendUnusableError as error:
                at = document.value("rules", index, "verifier")
                text = f"rules.{index}.verifier: {error}"
                self._files.error(at, error.code, text, error.hint)
                return None
            self._found[name] = self._set_up(name, verifier)
        return self._found[name]

    def _set_up(self, name: str, verifier: Verifier) -> tuple[Verifier, Any] | None:
        written = section(self._document, "attestation").get("verifiers")
        own = written.get(name, {}) if isinstance(written, dict) else {}
        at = ("attestation", "verifiers", name)
        settings, problems = validate_data(self._document, verifier.settings_model, own, at)
        self._files.extend(problems)
        return None if settings is None else (verifier, settings)

    def check_names(self) -> None:
        """Note settings of verifiers that are not installed."""
        written = section(self._document, "attestation").get("verifiers")
        known = sorted({point.name for point in self._points})
        for name in written if isinstance(written, dict) else ():
            if name not in known:
                at = self._document.key("attestation", "verifiers", name)
                text = f"attestation.verifiers.{name}: no verifier {name!r} is installed"
                self._files.error(at, "E210", text, did_you_mean(name, known, wanted="installed"))


def read_policies(
    files: Files,
    server_document: Document,
    trust: Mapping[str, TrustStore],
    points: tuple[EntryPoint, ...],
) -> Policies:
    """Read the folder that server.yaml names, or ``policies``; it may be missing."""
    named = section(server_document, "attestation").get("policies")
    folder = files.folder / (named if isinstance(named, str) else "policies")
    verifiers = _Verifiers(files, server_document, points)
    verifiers.check_names()
    found = Policies({}, {}, set())
    for path in _paths(folder):
        found.names.add(path.stem)
        document, content = files.document(path, PolicyModel, POLICY_STAND_INS)
        if content is None:
            continue
        found.said[path.stem] = content
        model = content.model
        rules = [
            _rule(files, document, index, rule, verifiers, trust)
            for index, rule in enumerate(model.rules)
            if content.tells(("rules", index, "verifier"))
        ]
        files.extend(_check(document, content))
        complete = tuple(rule for rule in rules if rule is not None)
        if content.sound and len(complete) == len(model.rules):
            policy = Policy(path.stem, document.text, model, complete)
            found.files[path.stem] = PolicyFile(policy, document)
    return found


def _paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix == ".yaml" and not path.name.startswith(".")
    )


def _rule(
    files: Files,
    document: Document,
    index: int,
    model: RuleModel,
    verifiers: _Verifiers,
    trust: Mapping[str, TrustStore],
) -> Rule | None:
    stores = {name: trust[name] for name in model.trust if name in trust}
    for number, name in enumerate(model.trust):
        if name not in trust:
            hint = did_you_mean(name, sorted(trust), wanted="trust stores in server.yaml")
            at = document.value("rules", index, "trust", number)
            text = f"rules.{index}.trust.{number}: there is no trust store {name!r}"
            files.error(at, "E201", text, hint)
    found = verifiers.get(model.verifier, document, index)
    if found is None:
        return None
    verifier, settings = found
    written = document.node(("rules", index))
    own = {key: value for key, value in written.items() if key not in RuleModel.model_fields}
    place = ("rules", index)
    policy, problems = validate_data(document, verifier.policy_model, own, place, files.named)
    files.extend(problems)
    if policy is None or len(stores) < len(model.trust):
        return None
    return Rule(model, verifier, settings, policy, stores)


def _check(document: Document, content: Content[PolicyModel]) -> Iterator[Problem]:
    model = content.model
    names: list[str] = []
    for index, rule in enumerate(model.rules):
        if not content.tells(("rules", index, "name")):
            continue
        if rule.name in names:
            text = f"{rule.name!r} is another rule's"
            yield _problem(document, "E206", text, "rules", index, "name")
        names.append(rule.name)
    enforced = [("rules", index, "enforce") for index in range(len(model.rules))]
    reported = all(rule.enforce == "report-only" for rule in model.rules)
    if reported and content.tells(*enforced, ("on_result", "none")):
        text = "every rule is report-only: nothing is required, and so nothing is ever enough"
        hint = 'for a pilot: `on_result: {none: {do: issue}}`, or a rule that is "optional"'
        if model.on_result.none.do == "refuse":
            yield _problem(document, "E251", text, "rules", hint=hint)
    for status in _STATUSES:
        told = content.tells(("on_result", status))
        if told and getattr(model.on_result, status).do == "issue":
            text = "devices without good evidence get certificates all the same"
            yield _problem(document, "W251", text, "on_result", status, severity="warning")


def check_attested_profiles(profiles: Mapping[str, Any], policies: Policies) -> Iterator[Problem]:
    """Yield what is wrong with profiles that ask for evidence.

    Args:
        profiles: `ProfileFile` by name, mended ones too.
        policies: all of them.
    """
    for file in profiles.values():
        wanted, document = file.model.attestation, file.document
        if wanted is None:
            continue
        if file.model.server_key_generation is not None:
            text = "keys made here are in no device yet, so no evidence speaks of them"
            yield _problem(document, "E252", text, "server_key_generation")
        if wanted.policy not in policies.names:
            hint = did_you_mean(wanted.policy, sorted(policies.names), wanted="policies")
            text = f"there is no policy {wanted.policy!r}"
            yield _problem(document, "E250", text, "attestation", "policy", hint=hint)
            continue
        said = policies.said.get(wanted.policy)
        if said is None or file.model.approval.mode != "none":
            continue
        told = file.content.tells(("approval",)) and said.tells(("on_result",))
        if told and "approve" in _outcomes(said.model):
            text = f"policy {wanted.policy} lets requests wait for a person, this profile does not"
            hint = "approval: {mode: manual, when: \"attestation.status == 'none'\"}"
            yield _problem(document, "E253", text, "attestation", "policy", hint=hint)


def _outcomes(model: PolicyModel) -> set[str]:
    found = model.on_result
    return {one.do for one in (found.affirming, found.warning, found.contraindicated, found.none)}


def _problem(
    document: Document,
    code: str,
    text: str,
    *path: str | int,
    hint: str | None = None,
    severity: Any = "error",
) -> Problem:
    return Problem(document.value(*path), code, f"{shown(path)}: {text}", hint, severity)
