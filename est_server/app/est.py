"""EST, put together: the use case, its pages, the TLS of its listener; all changed at once or not.

What the configuration says, which CAs are open and how far rollovers are make one `Prepared`;
nothing that can fail is left when it takes the place of the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.app.clock import system_clock
from est_server.app.followers import Followers
from est_server.app.listeners import (
    cms_signer,
    key_signer,
    pages_of,
    proxies_of,
    tls_context,
    tls_identity,
)
from est_server.app.parts import rulebook_of
from est_server.enrollment.service import EnrollmentService
from est_server.web.est import EstEndpoint
from est_server.web.tls import ServerTls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from est_server.app.authorities import Authorities
    from est_server.config.configuration import Configuration
    from est_server.enrollment.rulebook import Rulebook
    from est_server.errors import BackendUnavailable
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover
    from est_server.web.est import Pages
    from est_server.web.http import HttpLimits
    from est_server.web.proxies import Proxies
    from est_server.wire.cms_signed import Signer


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything of EST that a reload or a rollover changes."""

    rulebook: Rulebook
    pages: dict[str | None, Pages]
    context: Any
    key_signer: Signer | None
    cms_signer: Signer | None
    realm: str
    proxies: Proxies


class EstSide:
    """EST in this process.

    Args:
        configuration: as loaded.
        cas: its CAs, open or not yet.
        ledger: the durable record.
        ephemeral: counts.
        limits: of a connection.

    Attributes:
        service: the use case.
        endpoint: answers on the listener.
        tls: the listener's.
        followers: who has fetched a new root.

    Raises:
        ConfigurationError, BackendUnavailable: as `prepare`.
    """

    def __init__(
        self,
        configuration: Configuration,
        cas: Authorities,
        ledger: Ledger,
        ephemeral: Ephemeral,
        limits: HttpLimits,
    ) -> None:
        self._cas = cas
        self._ledger = ledger
        self._ephemeral = ephemeral
        first = self.prepare(configuration, ())
        self.service = EnrollmentService(first.rulebook, cas.open, ledger, ephemeral, system_clock)
        self.followers = Followers(self.service)
        self.endpoint = EstEndpoint(
            self.service, first.pages, limits, first.realm, self.followers.fetched, first.proxies
        )
        self.tls = ServerTls(first.context)
        self.take(first)

    def prepare(self, configuration: Configuration, rollovers: Sequence[Rollover]) -> Prepared:
        """Return what these make of EST.

        Raises:
            ConfigurationError: a CA can't do what the configuration says of it.
            BackendUnavailable: the listener's certificate or key can't be used.
        """
        known = self._cas.open
        rulebook = rulebook_of(
            configuration,
            known,
            self._ledger,
            self._ephemeral,
            rollovers,
            self._unavailable(configuration, rollovers),
        )
        listener = configuration.server.listeners.est
        identity = tls_identity(listener, configuration.base, known, rollovers)
        return Prepared(
            rulebook=rulebook,
            pages=pages_of(rulebook, known, rollovers),
            context=tls_context(identity, ask=True),
            key_signer=key_signer(identity, rulebook),
            cms_signer=cms_signer(identity),
            realm=configuration.server.realm,
            proxies=proxies_of(listener),
        )

    def take(self, prepared: Prepared) -> None:
        """Use what was prepared from now on; can't fail."""
        self.service.rulebook = prepared.rulebook
        self.service.keys.signer = prepared.key_signer
        self.endpoint.full_cmc.signer = prepared.cms_signer
        self.endpoint.pages = prepared.pages
        self.endpoint.realm = prepared.realm
        self.endpoint.proxies = prepared.proxies
        self.tls.replace(prepared.context)

    def texts(self) -> dict[str, tuple[str, str]]:
        """Return the texts of profiles and policies in use, with their names, by digest."""
        profiles = self.service.rulebook.profiles.values()
        found = {profile.digest: (profile.name, profile.text) for profile in profiles}
        policies = self.service.rulebook.appraiser.policies.values()
        return found | {policy.digest: (policy.name, policy.text) for policy in policies}

    def _unavailable(
        self, configuration: Configuration, rollovers: Sequence[Rollover]
    ) -> Mapping[str, BackendUnavailable]:
        found = {ca: self._cas.unavailable(ca, rollovers) for ca in configuration.ca_settings}
        return {ca: error for ca, error in found.items() if error is not None}
