"""What server.yaml and a profile say together about connections and trust anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.config.system_trust import SYSTEM
from est_server.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from est_server.config.profile_files import ProfileFile
    from est_server.config.server import ServerModel


def check_connections(
    server: ServerModel, profiles: Mapping[str, ProfileFile]
) -> Iterator[Problem]:
    """Yield profiles that ask of a connection what it can't have, or not in every case."""
    proxies = server.listeners.est.proxies
    for file in profiles.values():
        if proxies is not None:
            yield from _binding(file, only=proxies.only)
        yield from _implicit(file, server)


def _binding(file: ProfileFile, *, only: bool) -> Iterator[Problem]:
    # RFC 7030 3.5: the proof is bound to the device's own TLS, which ends at the proxy
    if file.model.proof_of_possession.channel_binding != "required":
        return
    at = file.document.value("proof_of_possession", "channel_binding")
    if only:
        text = "devices come through a proxy only, where there is no channel binding"
        hint = "write optional, or let devices connect directly (listeners.est.proxies)"
        yield Problem(at, "E240", f"proof_of_possession.channel_binding: {text}", hint)
        return
    text = "devices behind a proxy (listeners.est.proxies) have none and will be refused"
    yield Problem(at, "W240", text, severity="warning")


def _implicit(file: ProfileFile, server: ServerModel) -> Iterator[Problem]:
    for index, method in enumerate(file.model.authenticate):
        wanted = method.client_certificate
        if wanted is None or wanted.implicit == "accept":
            continue
        if server.trust.get(wanted.trust) == SYSTEM:
            at = file.document.value("authenticate", index, "client_certificate", "trust")
            text = f"{wanted.trust} is the system's trust store, and its anchors are refused here"
            hint = "implicit: accept believes every CA that the system knows"
            yield Problem(at, "W241", text, hint, severity="warning")
