"""What relying parties are served, put together: issuers, lists, status, the feed of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from est_server.app.clock import system_clock
from est_server.app.crls import open_crls
from est_server.app.keyless import show
from est_server.app.leases import LeaseKeeper, NoLease
from est_server.app.ocsp import open_ocsp
from est_server.app.periodic import Periodic
from est_server.config.roles import keyless
from est_server.ports.ephemeral import REVOCATIONS
from est_server.revocation.feed import POLL_SECONDS as FEED_SECONDS
from est_server.revocation.feed import Feed
from est_server.web.feed import FeedEndpoint
from est_server.web.ocsp import OcspEndpoint
from est_server.web.ocsp_fast import FastOcsp
from est_server.web.ocsp_known import KnownRequests
from est_server.web.validation import ValidationEndpoint

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from est_server.app.listening import Listening
    from est_server.config.configuration import Configuration
    from est_server.config.roles import Role
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover
    from est_server.web.http import HttpLimits


PUBLISHER = "publisher"
"""The lease of whoever publishes lists."""


class PublicSide:
    """The public listener's content in this process.

    Args:
        configuration: as loaded.
        authorities: every CA that is open.
        ledger: the durable record.
        node: this process.
        roles: what it does.
    """

    def __init__(
        self,
        configuration: Configuration,
        authorities: Mapping[str, CertificateAuthority],
        ledger: Ledger,
        node: str,
        roles: frozenset[Role],
    ) -> None:
        self._configuration = configuration
        self._ledger = ledger
        self._roles = roles
        self._issuers: dict[str, bytes] = {}
        self._ocsp = open_ocsp(ledger, roles)
        self._crls = open_crls(configuration, authorities, ledger)
        self._lease = LeaseKeeper(ledger.leases, PUBLISHER, node)
        self._crls.take_turns(self._lease if "publisher" in roles else NoLease())
        public = configuration.server.listeners.public
        streams = 0 if public is None else public.feed_streams
        self._feed = FeedEndpoint(Feed(ledger.revocations), self._crls.described, streams)

    async def start(self) -> None:
        """Have lists and answers before anybody asks.

        Raises:
            Conflict: ``crl.key``: a CA has another key than its lists.
        """
        if not keyless(self._roles):
            await self._crls.make_scopes()
        if {"publisher", "validation"} & self._roles:
            await self._crls.look()
            await self._ocsp.start()
        if "validation" in self._roles:
            await self._feed.turn()

    async def publish_for(
        self, known: Mapping[str, CertificateAuthority], rollovers: Sequence[Rollover]
    ) -> None:
        """Have lists of these CAs from now on.

        Raises:
            ConfigurationError: a CA can't do what the configuration says of it.
            BackendUnavailable: the ledger can't be written; nothing has changed.
        """
        fresh = open_crls(self._configuration, known, self._ledger, rollovers)
        if not keyless(self._roles):
            await fresh.make_scopes()
        if "publisher" in self._roles:
            await show(self._ledger.validation, known)
        else:
            fresh.bring_out_nothing()
        self._crls.follow(fresh)

    def answer_for(
        self, known: Mapping[str, CertificateAuthority], rollovers: Sequence[Rollover]
    ) -> None:
        """Tell the status of what these CAs issued from now on, and show their certificates."""
        self._issuers.update(
            {
                name: authority.certificates().issuer.public_bytes(Encoding.DER)
                for name, authority in known.items()
            }
        )
        self._ocsp.follow(self._configuration, known, rollovers)

    def serve(self, listening: Listening, limits: HttpLimits) -> None:
        """Answer on the public listener."""
        ocsp = OcspEndpoint(self._ocsp.service, limits, system_clock)

        def before(others: Callable[[], asyncio.Protocol]) -> FastOcsp:
            self._ocsp.known = KnownRequests(ocsp, self._ocsp.service.lease)
            return FastOcsp(self._ocsp.known, others, limits.idle_timeout)

        handler = ValidationEndpoint(self._issuers, self._crls.endpoint(), ocsp, self._feed).handle
        listening.serve("public", handler, before=before)

    def works(self, ephemeral: Ephemeral) -> tuple[Periodic, ...]:
        """Return what has to be done again and again, and sooner when a revocation is told."""
        if not {"publisher", "validation"} & self._roles:
            return ()
        works = (*self._crls.works(ephemeral), *self._ocsp.works(ephemeral))
        if "validation" not in self._roles:
            return works
        feed = Periodic("feed", FEED_SECONDS, self._feed.turn, ephemeral.wakes(REVOCATIONS))
        return (*works, feed)

    def close(self) -> None:
        """End the streams, which would use up the grace."""
        self._feed.close()

    async def leave(self) -> None:
        """Let another process publish at once."""
        await self._lease.release()
