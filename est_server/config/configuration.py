"""The whole configuration, or every problem it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from est_server.config.audit import check_audit, lint_audit
from est_server.config.backends import VERIFIERS, installed
from est_server.config.capabilities import check_capabilities
from est_server.config.compact import check_backdates
from est_server.config.connections import check_connections
from est_server.config.crl import check_crl_names, lint_crl
from est_server.config.files import Files
from est_server.config.lints import lint_deltas, lint_pointers, lint_superseding
from est_server.config.mending import SERVER_STAND_INS
from est_server.config.ocsp import lint_ocsp
from est_server.config.policy_files import (
    check_attested_profiles,
    read_policies,
)
from est_server.config.profile_files import read_profiles
from est_server.config.roles import EVERYTHING
from est_server.config.server import ServerModel
from est_server.config.server_file import (
    check_listeners,
    check_secrets,
    check_state,
    read_cas,
    read_trust,
)
from est_server.errors import ConfigurationError, Problem
from est_server.profiles.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from est_server.config.document import Document
    from est_server.config.policy_files import PolicyFile
    from est_server.config.profile_files import ProfileFile
    from est_server.config.roles import Role
    from est_server.config.server_file import CaSettings
    from est_server.pki.path import TrustStore
    from est_server.profiles.profile import Issuer
    from est_server.profiles.rules import CelRule


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration without an error.

    Attributes:
        path: server.yaml, as it was named.
        base: its folder, absolute; relative paths in it start here.
        server: its content.
        document: its text and positions.
        ca_settings: CA name -> (backend, the instance of its `settings_model`).
        trust: trust stores by name.
        profiles: by name, which is the file's stem.
        policies: appraisal policies by name, which is the file's stem.
        rules: compiled, by the profile's name.
        approvals: `approval.when` of the profiles that have it, compiled, by the profile's name.
        labels: URL label (None: without one) -> profile name.
        digests: SHA-256 of every file that was read, by the name that messages have.
        digest: SHA-256 over all of them and their names below `base`.
        warnings: what is worth a look.
    """

    path: Path
    base: Path
    server: ServerModel
    document: Document = field(repr=False)
    ca_settings: Mapping[str, CaSettings]
    trust: Mapping[str, TrustStore] = field(repr=False)
    profiles: Mapping[str, ProfileFile]
    policies: Mapping[str, PolicyFile]
    rules: Mapping[str, tuple[CelRule, ...]] = field(repr=False)
    approvals: Mapping[str, CelRule] = field(repr=False)
    labels: Mapping[str | None, str]
    digests: Mapping[str, str] = field(repr=False)
    digest: str
    warnings: tuple[Problem, ...]

    @property
    def sources(self) -> dict[str, str]:
        """The texts that warnings point into, for `est_server.config.problems.render`."""
        documents = [self.document]
        documents += [profile.document for profile in self.profiles.values()]
        documents += [policy.document for policy in self.policies.values()]
        return {document.file: document.text for document in documents}

    def compile(
        self, issuers: Mapping[str, Issuer], *, without: Container[str] = ()
    ) -> dict[str, Profile]:
        """Return the profiles as `decide` takes them, once the CAs are open.

        Args:
            issuers: facts about the open CAs by name.
            without: CAs that can't be used now, whose profiles are left out.

        Raises:
            ConfigurationError: E200, a profile's CA is not among them: at a reload, a CA that was
                added since the start; E270, its certificates would name a list or a responder
                that the CA does not have.
        """
        usable = {
            name: profile
            for name, profile in self.profiles.items()
            if profile.model.ca not in without
        }
        missing = [*_without_ca(usable.values(), issuers), *self._without_list(issuers)]
        if missing:
            raise ConfigurationError(tuple(missing))
        return {
            name: Profile(
                name=name,
                text=profile.text,
                model=profile.model,
                issuer=issuers[profile.model.ca],
                rules=self.rules[name],
                approval_when=self.approvals.get(name),
                positions=profile.document.positions,
            )
            for name, profile in usable.items()
        }

    def _without_list(self, issuers: Mapping[str, Issuer]) -> Iterator[Problem]:
        for profile in self.profiles.values():
            issuer = issuers.get(profile.model.ca)
            for index, pointer in enumerate(profile.model.certificate.pointers):
                if pointer == "ca-issuers" or issuer is None or issuer.publishes(pointer):
                    continue
                path = ("certificate", "pointers", index)
                text = f"certificate.pointers.{index}: CA {issuer.name} publishes no {pointer}"
                hint = (
                    "it takes a public listener, a CA whose key this server may use and whose "
                    "certificate has cRLSign, and no `enabled: false`"
                )
                yield Problem(profile.document.value(*path), "E270", text, hint)


def _without_ca(
    profiles: Iterable[ProfileFile], issuers: Mapping[str, Issuer]
) -> Iterator[Problem]:
    for profile in profiles:
        if (name := profile.model.ca) not in issuers:
            text = f"ca: CA {name!r} is not open"
            hint = "a CA that was added takes effect at the next start"
            yield Problem(profile.document.value("ca"), "E200", text, hint)


def load(
    path: Path,
    *,
    backends: Iterable[EntryPoint] | None = None,
    verifiers: Iterable[EntryPoint] | None = None,
    roles: Collection[Role] = EVERYTHING,
) -> Configuration:
    """Read server.yaml and everything it names; nothing is opened, no secret is read.

    Args:
        path: server.yaml.
        backends: entry points of the CA backends; None: those that are installed.
        verifiers: entry points of the verifiers of evidence, likewise.
        roles: what the process does: secrets that it does not need may be missing.

    Raises:
        ConfigurationError: with every problem of every file in one run, warnings included.
    """
    files = Files(path)
    # 1 server.yaml; what is wrong in it does not keep the rest from being checked
    document, content = files.document(path, ServerModel, SERVER_STAND_INS)
    if not files.digests:
        raise ConfigurationError(files.problems())
    # 2 what it names
    cas = read_cas(files, document, installed() if backends is None else tuple(backends))
    if content is not None:
        check_secrets(files, document, content, cas, roles)
        check_listeners(files, document, content, roles)
        check_state(files, document, content)
        files.extend(check_crl_names(document, content.model))
    trust = read_trust(files, document)
    # 3 the policies and the profiles
    points = installed(VERIFIERS) if verifiers is None else tuple(verifiers)
    policies = read_policies(files, document, trust, points)
    profiles = read_profiles(files, document)
    everyone = profiles.files | profiles.mended
    files.extend(check_attested_profiles(everyone, policies))
    files.extend(check_capabilities(cas, profiles.files))
    if content is not None:
        files.extend(check_connections(content.model, everyone))
        files.extend(check_backdates(content, everyone))
    server = content.model if content is not None and content.sound else None
    if server is not None:
        check_audit(files, document, server)
        files.extend(lint_audit(document, server))
        files.extend(lint_pointers(document, server, profiles.files))
        files.extend(lint_crl(document, server))
        files.extend(lint_deltas(server, profiles.files))
        files.extend(lint_superseding(server, profiles.files))
        files.extend(lint_ocsp(document, server))
    # 4 all or nothing
    problems = files.problems()
    if server is None or any(problem.severity == "error" for problem in problems):
        raise ConfigurationError(problems)
    return Configuration(
        path=path,
        base=path.parent.absolute(),
        server=server,
        document=document,
        ca_settings=MappingProxyType(cas),
        trust=MappingProxyType(trust),
        profiles=MappingProxyType(profiles.files),
        policies=MappingProxyType(policies.files),
        rules=MappingProxyType(profiles.rules),
        approvals=MappingProxyType(profiles.approvals),
        labels=MappingProxyType(profiles.labels),
        digests=MappingProxyType(files.digests),
        digest=files.digest(),
        warnings=problems,
    )
