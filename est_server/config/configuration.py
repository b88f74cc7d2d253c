"""The whole configuration, or every problem it has."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from cryptography import x509

from est_server.config.problems import validate
from est_server.config.server import ServerModel
from est_server.config.yaml_nodes import Document, read_document
from est_server.errors import ConfigurationError, Position, Problem
from est_server.pki.keys import KEY_ALGORITHMS, is_key_pattern
from est_server.pki.path import TrustStore
from est_server.profiles.model import ProfileModel
from est_server.profiles.patterns import dns_pattern, network
from est_server.profiles.profile import Issuer, Profile
from est_server.profiles.rules import compile_rule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from est_server.profiles.rules import CelRule

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
_LABEL = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-.~!$&'()*+,;:=")
DEFAULT_LABEL = "default"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that can run.

    Attributes:
        base: server.yaml's folder.
        server: server.yaml.
        ca_settings: CA name -> (backend's entry point object, its settings).
        profiles: name -> (model, text, document).
        rules: profile name -> compiled rules.
        labels: URL label (None without one) -> profile name.
        trust: trust stores by name.
        digest: SHA-256 over all files.
        warnings: what is worth a look.
        sources: text of each file, for rendering.
    """

    base: Path
    server: ServerModel
    ca_settings: Mapping[str, tuple[Any, Any]]
    profiles: Mapping[str, tuple[ProfileModel, str, Document]]
    rules: Mapping[str, tuple[CelRule, ...]]
    labels: Mapping[str | None, str]
    trust: Mapping[str, TrustStore]
    digest: str
    warnings: tuple[Problem, ...]
    sources: Mapping[str, str] = field(repr=False)

    def compile(self, issuers: Mapping[str, Issuer]) -> dict[str, Profile]:
        """Return the running profiles, once the CAs are open."""
        return {
            name: Profile(
                name, text, model, issuers[model.ca], self.rules[name], document.positions
            )
            for name, (model, text, document) in self.profiles.items()
        }


def load(path: Path) -> Configuration:
    """Read server.yaml and everything it names.

    Raises:
        ConfigurationError: with every problem of every file.
    """
    loader = _Loader(path)
    return loader.load()


class _Loader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path.parent
        self.problems: list[Problem] = []
        self.sources: dict[str, str] = {}

    def load(self) -> Configuration:
        document, _ = self._read(self.path)
        server: ServerModel | None = validate(document, ServerModel)
        self.problems.extend(document.problems)
        if server is None:
            raise ConfigurationError(tuple(self.problems))
        backends = self._backends(document, server)
        trust = self._trust(document, server)
        profiles: dict[str, tuple[ProfileModel, str, Document]] = {}
        rules: dict[str, tuple[CelRule, ...]] = {}
        labels: dict[str | None, str] = {}
        for file in sorted((self.base / server.profiles).glob("*.yaml")):
            found, text = self._read(file)
            model: ProfileModel | None = validate(found, ProfileModel)
            if model is not None:
                self._cross_check(found, model, server, labels, file.stem)
                profiles[file.stem] = (model, text, found)
                rules[file.stem] = self._rules(found, model)
                self._lint(found, model)
            self.problems.extend(found.problems)
        if not profiles and not self.problems:
            at = document.position(("profiles",))
            self.problems.append(Problem(at, "E206", f"no profiles in {server.profiles}/"))
        if any(problem.severity == "error" for problem in self.problems):
            raise ConfigurationError(tuple(sorted(self.problems, key=lambda p: p.position)))
        digest = sha256("\0".join(f"{k}\0{v}" for k, v in self.sources.items()).encode())
        return Configuration(
            base=self.base,
            server=server,
            ca_settings=backends,
            profiles=profiles,
            rules=rules,
            labels=labels,
            trust=trust,
            digest=digest.hexdigest(),
            warnings=tuple(self.problems),
            sources=self.sources,
        )

    def _read(self, path: Path) -> tuple[Document, str]:
        shown = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            at = Position(shown, 1, 1)
            message = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise ConfigurationError((*self.problems, Problem(at, "E201", str(message)))) from error
        self.sources[shown] = text
        return read_document(text, shown), text

    def _error(
        self, document: Document, path: tuple[str | int, ...], code: str, text: str,
        hint: str | None = None,
    ) -> None:  # fmt: skip
        document.problems.append(Problem(document.position(path), code, text, hint))

    def _backends(self, document: Document, server: ServerModel) -> dict[str, tuple[Any, Any]]:
        known = {point.name: point for point in entry_points(group="est_server.backends")}
        found: dict[str, tuple[Any, Any]] = {}
        before = len(document.problems)
        for name, keys in server.cas.items():
            kind = keys.get("backend")
            if kind not in known:
                hint = f"installed: {', '.join(sorted(known)) or 'none'}"
                self._error(document, ("cas", name), "E202", f"no backend {kind!r}", hint)
                continue
            backend = known[kind].load()()
            part = Document(document.file, dict(keys), document.positions, document.problems)
            del part.data["backend"]
            nested = Document(document.file, {"cas": {name: part.data}}, document.positions, [])
            settings = validate(nested, backend.settings_model, ("cas", name))
            document.problems.extend(nested.problems)
            found[name] = (backend, settings)
        self.problems.extend(document.problems[before:])
        return found

    def _trust(self, document: Document, server: ServerModel) -> dict[str, TrustStore]:
        stores: dict[str, TrustStore] = {}
        for name, file in server.trust.items():
            at = document.position(("trust", name))
            try:
                data = (self.base / file).read_bytes()
                anchors = tuple(x509.load_pem_x509_certificates(data))
            except OSError as error:
                self.problems.append(Problem(at, "E201", f"{file}: {error.strerror}"))
                continue
            except ValueError:
                self.problems.append(Problem(at, "E203", f"{file} holds no PEM certificates"))
                continue
            stores[name] = TrustStore(name, anchors)
            self.sources[str(self.base / file)] = data.decode("ascii", "replace")
        return stores

    def _rules(self, document: Document, model: ProfileModel) -> tuple[CelRule, ...]:
        compiled = []
        for index, rule in enumerate(model.rules):
            try:
                compiled.append(compile_rule(rule))
            except (ValueError, ModuleNotFoundError) as error:
                text = str(error).splitlines()[0]
                self._error(document, ("rules", index, "when"), "E207", text)
        return tuple(compiled)

    def _cross_check(  # noqa: C901 - a list of independent checks
        self,
        document: Document,
        model: ProfileModel,
        server: ServerModel,
        labels: dict[str | None, str],
        name: str,
    ) -> None:
        where: tuple[str | int, ...]
        if model.ca not in server.cas:
            self._error(document, ("ca",), "E204", f"no CA {model.ca!r} in server.yaml")
        for index, method in enumerate(model.authenticate):
            wanted = method.client_certificate
            if wanted is not None and wanted.trust not in server.trust:
                where = ("authenticate", index, "client_certificate", "trust")
                self._error(document, where, "E204", f"no trust store {wanted.trust!r}")
        for index, label in enumerate(model.labels):
            where = ("labels", index)
            key = None if label == DEFAULT_LABEL else label
            if label.lower() in RESERVED_LABELS or not set(label) <= _LABEL or len(label) > 128:
                self._error(document, where, "E205", f"{label!r} can't be a label (RFC 7030 3.2.2)")
            elif key in labels:
                self._error(document, where, "E205", f"profile {labels[key]} has label {label!r}")
            else:
                labels[key] = name
        for index, pattern in enumerate(model.key.allow):
            if not is_key_pattern(pattern):
                close = difflib.get_close_matches(pattern, KEY_ALGORITHMS, n=1)
                hint = f"did you mean {close[0]!r}?" if close else ", ".join(KEY_ALGORITHMS)
                where = ("key", "allow", index)
                self._error(document, where, "E208", f"no key algorithm {pattern!r}", hint)
        names = model.subject_alternative_names
        for kind, check in (("dns", dns_pattern), ("ip", network)):
            rule = getattr(names, kind)
            for index, pattern in enumerate(rule.allow if rule else ()):
                try:
                    check(pattern)
                except ValueError as error:
                    where = ("subject_alternative_names", kind, "allow", index)
                    self._error(document, where, "E208", str(error))

    def _lint(self, document: Document, model: ProfileModel) -> None:
        def warn(path: tuple[str | int, ...], code: str, text: str) -> None:
            at = document.position(path)
            document.problems.append(Problem(at, code, text, severity="warning"))

        purposes = model.certificate.extended_key_usage
        if model.reenroll and purposes and "clientAuth" not in purposes:
            text = "lacks clientAuth: devices cannot authenticate /simplereenroll with it"
            warn(("certificate", "extended_key_usage"), "W201", text)
        if model.subject.as_requested or model.subject_alternative_names.as_requested:
            text = "names are taken as requested: any device may claim any name; for tests only"
            warn(("subject",), "W202", text)
        renewal = model.reenroll
        if renewal and renewal.window and renewal.window >= model.certificate.lifetime:
            warn(("reenroll", "window"), "W203", "is longer than the certificate's lifetime")
