"""Revocation lists, put together: who publishes what, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from cryptography import x509

from est_server.app.clock import system_clock
from est_server.app.periodic import Periodic
from est_server.config.crl import Crl
from est_server.errors import ConfigurationError, Problem
from est_server.pki.authority import authority_key_identifier
from est_server.pki.plan import SHARD, Pointers
from est_server.ports.crl import COMPLETE, crl_file
from est_server.ports.ephemeral import REVOCATIONS
from est_server.revocation.compact import CompactSetIssuer
from est_server.revocation.issuer import CrlIssuer
from est_server.revocation.publisher import CrlPublisher
from est_server.storage.crl_directory import CrlDirectory
from est_server.web import metrics
from est_server.web.crl import PATH, CrlEndpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from est_server.config.compact import Compact
    from est_server.config.configuration import Configuration
    from est_server.ports.ca import CertificateAuthority, SignsTbs
    from est_server.ports.crl import CrlKind
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover
    from est_server.revocation.list_maker import Exclusive
    from est_server.revocation.publisher import Publication

_TURN_SECONDS = 0.25
"""Between two looks: a revocation is on a delta CRL within two seconds (one of them its own)."""
_COMPACT_TURN_SECONDS = 1.0


def crl_section(
    configuration: Configuration, name: str, authority: CertificateAuthority
) -> Crl | None:
    """Return how a CA's lists are published here; None: they are not.

    A successor that a rollover brought publishes as `name`, the CA in server.yaml, does.

    Without a section of its own, a CA publishes whose key this server may use.

    Raises:
        ConfigurationError: E270: the section asks for lists that the CA can't sign.
    """
    server = configuration.server
    section = server.cas[name].crl
    able = _able(authority)
    if section is None:
        return Crl() if able and server.listeners.public is not None else None
    if not section.enabled:
        return None
    if not able:
        text = f"cas.{name}.crl: this CA's key can't sign lists here, or its certificate may not"
        hint = "its own CA publishes them; otherwise the certificate needs cRLSign"
        at = configuration.document.key("cas", name, "crl")
        raise ConfigurationError((Problem(at, "E270", text, hint),))
    return section


def compact_section(
    configuration: Configuration, name: str, authority: CertificateAuthority
) -> Compact | None:
    """Return how a CA's compact sets are published here; None: they are not.

    Raises:
        ConfigurationError: E270: the section asks for sets that the CA can't sign.
    """
    section = configuration.server.cas[name].compact
    if section is not None and not _able(authority):
        text = f"cas.{name}.compact: this CA's key can't sign sets here, or its certificate may not"
        hint = "leave the section out; otherwise the certificate needs cRLSign"
        at = configuration.document.key("cas", name, "compact")
        raise ConfigurationError((Problem(at, "E270", text, hint),))
    return section


def crl_url(configuration: Configuration, section: Crl) -> str | None:
    """Return where lists are, with a slash at its end; None if nobody serves them."""
    if section.url is not None:
        return section.url.rstrip("/") + "/"
    public = configuration.server.listeners.public
    return None if public is None else public.url.rstrip("/") + PATH


def crl_pointers(
    configuration: Configuration,
    name: str,
    authority: CertificateAuthority,
    configured: str | None = None,
) -> tuple[Pointers, int]:
    """Return what certificates of a CA may say about its lists, and how many partial ones.

    Args:
        configuration: as loaded.
        name: the CA's own, which its lists have.
        authority: the CA.
        configured: the name in server.yaml, where a rollover brought the CA; None for its own.
    """
    section = crl_section(configuration, configured or name, authority)
    url = None if section is None else crl_url(configuration, section)
    if section is None or url is None:
        return Pointers(), 0
    shard = SHARD if section.shards else COMPLETE
    return Pointers(
        crl=(url + crl_file(name, shard, "base"),),
        freshest_crl=(url + crl_file(name, shard, "delta"),) if section.delta else (),
    ), section.shards


def open_crls(
    configuration: Configuration,
    authorities: Mapping[str, CertificateAuthority],
    ledger: Ledger,
    rollovers: Sequence[Rollover] = (),
) -> Crls:
    """Return the publisher of every CA that has one, successors of rollovers too."""
    origin = {rollover.successor: rollover.ca for rollover in rollovers}
    issuers: dict[str, CrlIssuer] = {}
    compact: dict[str, CompactSetIssuer] = {}
    outlets: dict[str, CrlDirectory] = {}
    for name, authority in authorities.items():
        configured = origin.get(name, name)
        certificate = authority.certificates().issuer
        section = crl_section(configuration, configured, authority)
        sets = compact_section(configuration, configured, authority)
        if sets is not None:
            compact[name] = CompactSetIssuer(
                ca=name,
                signer=cast("SignsTbs", authority),
                key_identifier=authority_key_identifier(certificate).key_identifier or b"",
                times=sets.times(),
            )
        if section is None:
            continue
        issuers[name] = CrlIssuer(
            ca=name,
            signer=cast("SignsTbs", authority),
            subject=certificate.subject.public_bytes(),
            key_identifier=authority_key_identifier(certificate).key_identifier or b"",
            times=section.times(),
            shards=section.shards,
            url=crl_url(configuration, section),
        )
        if section.directory is not None:
            outlets[name] = CrlDirectory(configuration.base / section.directory)
    crls = CrlPublisher(issuers, ledger, outlets, system_clock)
    return Crls(crls, CrlPublisher(compact, ledger, outlets, system_clock, crls.documents))


@dataclass(slots=True)
class Crls:
    """Revocation lists in this process.

    Attributes:
        publisher: of CRLs.
        compact: of compact sets, whose turns are their own: a large one takes seconds.
    """

    publisher: CrlPublisher[CrlIssuer]
    compact: CrlPublisher[CompactSetIssuer]

    async def make_scopes(self) -> None:
        """Make what certificates name, before one does.

        Raises:
            Conflict: ``crl.key``: a CA has another key than its lists.
        """
        await self.publisher.start()
        await self.compact.start()

    async def look(self) -> None:
        """Publish what is due and have what is published, before anybody asks."""
        await self._turn()

    def follow(self, fresh: Crls) -> None:
        """Publish for the CAs of `fresh` from now on; what is published stays."""
        for mine, its in ((self.publisher, fresh.publisher), (self.compact, fresh.compact)):
            mine.issuers, mine.outlets = its.issuers, its.outlets

    def take_turns(self, lease: Exclusive) -> None:
        """Publish while this process has the lease."""
        self.publisher.lease = self.compact.lease = lease

    def bring_out_nothing(self) -> None:
        """Leave the directories to others."""
        self.publisher.outlets = self.compact.outlets = {}

    def works(self, ephemeral: Ephemeral) -> tuple[Periodic, ...]:
        """Return what has to be done again and again, and sooner when a revocation is told."""
        return (
            Periodic("crl", _TURN_SECONDS, self._turn, ephemeral.wakes(REVOCATIONS)),
            Periodic("compact set", _COMPACT_TURN_SECONDS, self._compact_turn),
        )

    def endpoint(self) -> CrlEndpoint:
        """Return what hands the lists out."""
        keep: dict[tuple[str, CrlKind], timedelta] = {
            (name, "base"): issuer.times.interval
            for name, issuer in self.publisher.issuers.items()
            if not issuer.times.complete_follows
        }
        keep |= {(name, "compact"): one.times.every for name, one in self.compact.issuers.items()}
        return CrlEndpoint(self.publisher.documents, keep, system_clock)

    def described(self) -> dict[str, dict[str, object]]:
        """Return what followers of the feed have to know of each CA's lists."""
        return {
            name: {
                "delta": issuer.times.delta_lifetime is not None,
                "complete": "revocation" if issuer.times.complete_follows else "interval",
            }
            for name, issuer in self.publisher.issuers.items()
        }

    async def _turn(self) -> None:
        self._measure(await self.publisher.turn())

    async def _compact_turn(self) -> None:
        self._measure(await self.compact.turn())

    def _measure(self, publications: Sequence[Publication]) -> None:
        for done in publications:
            metrics.CRL_PUBLISHED.labels(done.crl.ca, done.crl.kind).inc()
            if done.waited is not None:
                metrics.CRL_PROPAGATION.labels(done.crl.kind).observe(done.waited)
        for document in self.publisher.documents.values():
            crl = document.crl
            labels = (crl.ca, str(max(crl.shard, COMPLETE)), crl.kind)
            metrics.CRL_NUMBER.labels(*labels).set(crl.number)
            metrics.CRL_SIZE.labels(*labels).set(crl.size)
            metrics.CRL_THIS_UPDATE.labels(*labels).set(crl.this_update.timestamp())
            metrics.CRL_NEXT_UPDATE.labels(*labels).set(crl.next_update.timestamp())


def _able(authority: CertificateAuthority) -> bool:
    if not authority.capabilities.signs_tbs:
        return False
    try:
        usage = (
            authority.certificates().issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        )
    except x509.ExtensionNotFound:
        return False
    return usage.crl_sign
