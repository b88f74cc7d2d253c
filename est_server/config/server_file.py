"""What server.yaml names: backends, secrets, certificates, trust stores."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from est_server.config.backends import BackendUnusableError, find_backend
from est_server.config.certificates import read_certificates, read_trust_store
from est_server.config.roles import needs
from est_server.config.secrets import check_secret, secrets_in
from est_server.config.server import Ca
from est_server.config.system_trust import SYSTEM, system_trust_store
from est_server.config.validate import validate_data
from est_server.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from importlib.metadata import EntryPoint

    from est_server.config.document import Document
    from est_server.config.files import Files
    from est_server.config.mending import Content
    from est_server.config.roles import Role
    from est_server.config.server import ServerModel
    from est_server.pki.path import TrustStore
    from est_server.ports.ca import Backend

CaSettings = tuple["Backend", Any]
"""A backend, and an instance of its `settings_model`."""


def section(document: Document, name: str) -> dict[str, Any]:
    """Return a section as written, for checks that don't wait for the rest to be right."""
    found = document.node((name,))
    return found if isinstance(found, dict) else {}


def read_cas(
    files: Files, document: Document, backends: tuple[EntryPoint, ...]
) -> dict[str, CaSettings]:
    """Return the CAs by name, each with its own backend's idea of its settings."""
    settings: dict[str, CaSettings] = {}
    for name, keys in section(document, "cas").items():
        kind = keys.get("backend") if isinstance(keys, dict) else None
        if not isinstance(kind, str):
            continue  # `Ca` says so
        try:
            backend = find_backend(kind, backends)
        except BackendUnusableError as error:
            at = document.value("cas", name, "backend")
            files.error(at, error.code, f"cas.{name}.backend: {error}", error.hint)
            continue
        own = {key: value for key, value in keys.items() if key not in Ca.model_fields}
        made, problems = validate_data(document, backend.settings_model, own, ("cas", name))
        files.extend(problems)
        if made is not None:
            settings[name] = (backend, made)
    return settings


def check_secrets(
    files: Files,
    document: Document,
    server: Content[ServerModel],
    cas: Mapping[str, CaSettings],
    roles: Collection[Role],
) -> None:
    """Note every secret that these roles need and that is not there, or that others can read."""
    own = server.model.listeners.admin_.key is not None
    named = [*secrets_in(server.model)]
    for name, (_, settings) in cas.items():
        named.extend(secrets_in(settings, ("cas", name)))
    for path, secret in named:
        if not server.tells(path) or not needs(path, roles, admin_of_its_own=own):
            continue
        if (problem := check_secret(document, path, secret, files.folder)) is not None:
            files.extend([problem])


def check_listeners(
    files: Files, document: Document, server: Content[ServerModel], roles: Collection[Role]
) -> None:
    """Note addresses that are taken twice, and certificates that these roles can't present."""
    listeners = server.model.listeners
    taken: dict[str, str] = {}
    for name in ("est", "public", "admin"):
        listener = getattr(listeners, name)
        if listener is None or not server.tells(("listeners", name, "listen")):
            continue
        address = listener.listen
        if address in taken and not address.endswith(":0"):
            text = f"listeners.{name}.listen: {address} is taken by {taken[address]}"
            files.error(document.value("listeners", name, "listen"), "E214", text)
        taken[address] = name
    presented = {listeners.admin.certificate: "admin", listeners.est.certificate: "est"}
    own = listeners.admin_.certificate is not None
    for file, name in presented.items():
        key = ("listeners", name, "certificate")
        if not server.tells(key) or not needs(key, roles, admin_of_its_own=own):
            continue
        path = files.folder / file
        at = document.value("listeners", name, "certificate")
        data = files.read(path, at, f"listeners.{name}.certificate: ")
        if data is not None:
            _, problems = read_certificates(data, str(path))
            files.extend(problems)


def check_state(files: Files, document: Document, server: Content[ServerModel]) -> None:
    """Note a database that can't be used from here, or whose connections others can read."""
    state, at = server.model.state, document.value("state", "ledger")
    if not server.tells(("state", "ledger")) or not server.tells(("state", "postgres")):
        return
    if state.in_a_file:
        if "postgres" in section(document, "state"):
            text = "state.postgres: the ledger is a file"
            where = document.key("state", "postgres")
            files.extend([Problem(where, "W281", text, severity="warning")])
        return
    if find_spec("asyncpg") is None or find_spec("greenlet") is None:
        hint = "pip install 'est-server[postgres]'"
        files.error(at, "E209", "state.ledger: PostgreSQL needs asyncpg and greenlet", hint)
    if state.readable_on_the_way:
        text = "state.postgres.tls: off, and the database is on another machine"
        where = document.value("state", "postgres", "tls")
        hint = "give it a certificate, and name what it leads to in state.postgres.trust"
        files.extend([Problem(where, "W280", text, hint, severity="warning")])
    if state.postgres.trust is not None:
        where = document.value("state", "postgres", "trust")
        path = files.folder / state.postgres.trust
        data = files.read(path, where, "state.postgres.trust: ")
        if data is not None:
            files.extend(read_certificates(data, str(path))[1])


def read_trust(files: Files, document: Document) -> dict[str, TrustStore]:
    """Return the trust stores by name."""
    stores: dict[str, TrustStore] = {}
    for name, file in section(document, "trust").items():
        if not isinstance(file, str) or not file:
            continue  # `ServerModel` says so
        at = document.value("trust", name)
        if file == SYSTEM:
            stores[name] = system_trust_store(name)
            if not stores[name].anchors:
                hint = "install the package ca-certificates, or name a PEM file"
                files.error(at, "E109", f"trust.{name}: the system has no trust anchors", hint)
            continue
        path = files.folder / file
        data = files.read(path, at, f"trust.{name}: ")
        if data is not None:
            store, problems = read_trust_store(name, data, str(path))
            files.extend(problems)
            if store is not None:
                stores[name] = store
    return stores
