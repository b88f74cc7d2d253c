"""The certificate authority behind enrollment.

A backend is found by entry point (group ``est_server.backends``). The required port is small;
further powers (`SignsTbs`, `Revokes`, `LooksUp`, `Prepares`) are protocols of their own that an
authority may implement as well, and that its `Capabilities` declare. `docs/backends.md` is the way
to write one; the suite in `est_server.testing` holds every one to what is promised here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from est_server.pki.plan import CertificatePlan
    from est_server.ports.clock import Clock
    from est_server.ports.revocation import RevocationReason

OwnChoice = Literal["serial", "validity", "extensions"]
"""A part of a certificate that a CA fills in by its own rules, not exactly as it was ordered."""

SubjectKind = Literal["any", "dns", "empty"]
"""What a CA writes as subject: all of it, no more than one of the DNS names, or nothing."""

NameKind = Literal["dns", "ip", "email", "uri", "other"]
"""A kind of subjectAltName; ``other`` is a directory name, a registered id or an otherName."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do, checked against the profiles when the configuration is read.

    Attributes:
        device_keys: key algorithms it certifies, in the names of `est_server.pki.keys`; empty
            means any.
        local_key: True if the CA's key is this server's to use (a file, a token); what such a CA
            signed before a crash can't be looked up anywhere.
        holds_signature: True if a signature never leaves this process before `issue` returns, so
            that reserving and recording may be one commit. False for everything that could have
            issued although we never heard back; those are reserved first, durably.
        signs_tbs: True if the authority is a `SignsTbs`, so that this server publishes its
            revocation lists and names who answers for it.
        revokes: True if the authority is a `Revokes`.
        looks_up: True if the authority is a `LooksUp`.
        prepares: True if the authority is a `Prepares`; such a one looks up as well.
        repeats_for: how long after the first `issue` the same token is sure to get the same
            certificate, or the first one if none was made yet; zero if it never is.
        may_wait: True if `issue` may raise `Pending`.
        forwards_csr: True if the CA reads `IssuanceOrder.csr`, whose signature has to be the
            device's own. Passwords in it would be told to that CA, so such requests are refused.
        own: what the CA fills in by its own rules. What is not named here must come back exactly as
            it was ordered; what is named may be narrower than ordered and never wider: any good
            serial number, no longer validity, no further usages, purposes or CA rights. Keys and
            names are never the CA's own.
        longest_lifetime: of a certificate; None without a limit.
        shortest_lifetime: what it gives at least, whatever was ordered; None if it does not.
        subject: which subjects it certifies.
        name_kinds: the subjectAltNames it certifies; empty means any.
        extended_key_usages: the purposes it certifies, dotted OIDs; empty means any.
        writes: the usages and purposes that stand in every certificate, whatever was ordered: names
            of RFC 5280 4.2.1.3 and dotted OIDs.
        certificate_policies: whether it writes the policies it is asked for.
    """

    device_keys: frozenset[str] = frozenset()
    local_key: bool = False
    holds_signature: bool = False
    signs_tbs: bool = False
    revokes: bool = False
    looks_up: bool = False
    prepares: bool = False
    repeats_for: timedelta = timedelta(0)
    may_wait: bool = False
    forwards_csr: bool = False
    own: frozenset[OwnChoice] = frozenset()
    longest_lifetime: timedelta | None = None
    shortest_lifetime: timedelta | None = None
    subject: SubjectKind = "any"
    name_kinds: frozenset[NameKind] = frozenset()
    extended_key_usages: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    certificate_policies: bool = True


@dataclass(frozen=True, slots=True)
class IssuanceOrder:
    """One certificate to be made, completely described.

    An order is durable before a CA that could lose it is asked, and every later call for it, by
    this process or by the one after it, has the same values.

    Attributes:
        plan: every field of the certificate. The CSR is never a source of extensions.
        serial_number: positive, at least 64 random bits, at most 20 octets (RFC 5280 4.1.2.2); a
            backend whose CA numbers by itself ignores it.
        idempotency_token: equal for retries of the same order, and for nothing else; at most 36
            characters of ``[A-Za-z0-9_-]``.
        csr: DER of the PKCS #10 request. Its signature verifies where `Capabilities.forwards_csr`;
            elsewhere attributes that hold passwords may have been taken out of it.
        ordered_at: when the order was made, shortly before the CA was first asked.
        ticket: what `Prepares.prepare` returned for it; None where nothing was prepared yet, so
            that nothing can have been issued either.
    """

    plan: CertificatePlan
    serial_number: int
    idempotency_token: str
    csr: bytes
    ordered_at: datetime
    ticket: str | None = None


@dataclass(frozen=True, slots=True)
class CaCertificates:
    """The issuing CA's certificate and the way up to its root.

    Attributes:
        issuer: the certificate whose key signs.
        chain: every certificate above it, the issuer's own issuer first, the root last; empty
            when the issuer is itself a root.
        others: further issuers whose answers are as good, and what is above them: the members of a
            pool, the old and the new one while a CA elsewhere rolls over.
    """

    issuer: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    others: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """The outcome of a test signature or of asking the upstream."""

    ok: bool
    detail: str


class CertificateAuthority(Protocol):
    """Signs what it is told to, exactly.

    Concurrency: methods may be called from many tasks of one event loop. Blocking work belongs in
    a process of its own (a thread beside a busy loop falls to a few hundred signatures a second).
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this authority can do: `Backend.capabilities` of its settings."""
        ...

    async def connect(self) -> None:
        """Learn what `certificates` returns.

        Called before anything else, and again from time to time until it succeeds; nothing but
        `health` and `close` is called before that.

        Raises:
            BackendUnavailable: the CA can't be reached or used now; the hint says what to do.
        """
        ...

    def certificates(self) -> CaCertificates:
        """Return the current issuer and chain; cheap, from memory.

        They may change while it is open, when a CA elsewhere rolls over; the server looks at them
        each time after it has asked for `health`.
        """
        ...

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Make the certificate of `order`.

        The same `order.idempotency_token` never yields two different certificates within
        `Capabilities.repeats_for`. It is asked again with the same order after `Pending`.

        Raises:
            BackendRejected: the CA's own verdict; nothing was issued, and nothing will be.
            BackendUnavailable: no verdict. With `nothing_issued` the CA is certain not to have
                taken the order: it was never reached, or said that it is too busy. Without, it may
                have, and the certificate may exist.
            Pending: the CA took the order and has not decided yet (``ca.pending``); the device is
                told to come back, no sooner than `retry_after`.
        """
        ...

    async def health(self) -> Health:
        """Make a test signature or ask the upstream; never raises."""
        ...

    async def close(self) -> None:
        """Release the key, the session or the connections."""
        ...


class SignsTbs(Protocol):
    """A further power: signs structures that this server makes, with the CA's own key.

    For CRLs and the certificates of OCSP responders, whose extensions no certificate plan has.
    """

    @property
    def signature_algorithm(self) -> bytes:
        """DER AlgorithmIdentifier of every signature that `sign_tbs` makes."""
        ...

    async def sign_tbs(self, tbs: bytes) -> bytes:
        """Sign `tbs` and return the signature's octets, checked with the CA's public key.

        Args:
            tbs: DER of a TBSCertList or TBSCertificate, possibly of many megabytes, whose own
                signature field is `signature_algorithm`.

        Raises:
            BackendUnavailable: ``ca.signature``: the key can't be used, or what it made does not
                verify.
        """
        ...


class Revokes(Protocol):
    """A further power: takes a certificate out of use at the CA."""

    async def revoke(self, certificate: x509.Certificate, reason: RevocationReason) -> None:
        """Return once the CA has revoked `certificate`, by this call or an earlier one.

        Never asked for a hold, which many CAs could not take back. It is asked again, perhaps by
        another process and after it had succeeded, and then changes nothing.

        Raises:
            BackendRejected: the CA will not: it does not know the certificate, or may not revoke.
            BackendUnavailable: it did not answer, or not now; to be asked again.
        """
        ...


class LooksUp(Protocol):
    """A further power: tells what became of an order."""

    async def find(self, order: IssuanceOrder) -> x509.Certificate | None:
        """Return the certificate that was made for this very order, by its idempotency token.

        Never one that merely looks like it. None means that nothing was issued for this token and
        nothing will be any more, even if a request for it is still on its way: a CA that can't be
        sure of that yet raises instead, and is asked again.

        Raises:
            BackendUnavailable: it can't tell now.
        """
        ...


class Prepares(Protocol):
    """A further power: has a name for an order before it carries it out.

    For a CA that keeps orders of its own, which take several steps. The name is durable before
    `issue`, which carries out this very order, however often and by whichever process it is asked.
    """

    async def prepare(self, order: IssuanceOrder) -> str:
        """Return the ticket: what the CA calls its own order, at most 2000 characters.

        It makes no certificate, now or later. A ticket that was lost on its way is never asked
        for again: the CA's order is left to expire.

        Raises:
            BackendRejected: as `issue`.
            BackendUnavailable: nothing was issued, whatever `nothing_issued` says.
        """
        ...


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What a backend needs to be opened.

    Attributes:
        name: the CA's name in server.yaml.
        base: the folder of server.yaml; relative paths start there.
        clock: the time.
    """

    name: str
    base: Path
    clock: Clock


class Backend(Protocol):
    """The entry point's object: opens a `CertificateAuthority` from its settings."""

    @property
    def settings_model(self) -> type[Any]:
        """The pydantic model of this backend's keys in server.yaml (without ``backend``)."""
        ...

    def capabilities(self, settings: Any) -> Capabilities:
        """Return what a CA of these settings can do; pure, nothing is opened.

        Args:
            settings: an instance of `settings_model`.
        """
        ...

    def open(self, settings: Any, context: BackendContext) -> CertificateAuthority:
        """Make the authority, without asking anything of a network: `connect` does that.

        Args:
            settings: an instance of `settings_model`.
            context: name, base folder and clock.

        Raises:
            BackendUnavailable: a key or a file of it can't be used; the hint says what to do. The
                server starts without this CA and tries again.
        """
        ...
