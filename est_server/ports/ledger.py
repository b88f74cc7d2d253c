"""The record that may never be lost: devices, credentials, requests, decisions, certificates.

Durability: when a write returns, it survives the loss of power. Atomicity: one call is one
transaction; adapters may let concurrent calls share a commit, in which case one call's failure
leaves the others untouched. Concurrency: several processes may use one ledger; a write that lost
against another raises `Conflict` and changes nothing. A caller that is cancelled while it writes
does not learn whether its write happened; it happens whole or not at all.

When the store can't be reached or is full, every method raises
`BackendUnavailable("ledger.unavailable", …)` and what was being written is not there; a disk that
failed, or a connection that was lost, in the middle of a commit may still show it, whole, later.
What the store can't keep exactly (text with a lone surrogate, a serial number of more than 20
octets) raises `Malformed("ledger.value", …)`, and a search for it finds nothing.

All times are aware and in UTC, with the precision of a microsecond or better.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from est_server.ports.appraisals import Appraisals
    from est_server.ports.audit import AuditLog
    from est_server.ports.crl import Crls
    from est_server.ports.device_keys import DeviceKeys
    from est_server.ports.leases import Leases
    from est_server.ports.nonces import Nonces
    from est_server.ports.orders import Ordered, Orders
    from est_server.ports.pending import Claim, PendingRequests
    from est_server.ports.retention import Retention
    from est_server.ports.revocation import RevocationReason, Revocations
    from est_server.ports.rollover import Rollovers
    from est_server.ports.supersession import Supersession, Supersessions
    from est_server.ports.upstream import UpstreamRevocations
    from est_server.ports.validation import Validation

Operation = Literal["simpleenroll", "simplereenroll", "serverkeygen", "ocsp-responder"]
"""What a certificate was asked for with; ``ocsp-responder`` is this server asking for itself."""
DeviceState = Literal["active", "quarantined", "retired"]
RequestState = Literal["reserved", "waiting", "issued", "rejected", "parked"]
"""``reserved``: a process works on it; ``waiting``: its CA has not decided (`ports.orders`);
``parked``: nobody can tell what its CA did, or it did something else."""
CertificateStatus = Literal["good", "held", "revoked", "presumed"]
"""``presumed``: a local CA may have signed it before a crash; revocable, never handed out.
``held``: on hold, which may be released (RFC 5280 5.3.1)."""


@dataclass(frozen=True, slots=True)
class Device:
    """A thing that may hold certificates; `attributes` are the operator's own words about it."""

    id: str
    profile: str
    created_at: datetime
    state: DeviceState = "active"
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credential:
    """An enrollment credential (RFC 7030 3.2.3, HTTP Basic).

    Attributes:
        verifier: hash of the password, in the form `est_server.enrollment.credentials` writes.
        uses_allowed: how many certificates it may obtain; None is unlimited.
        uses: how many it has obtained.
    """

    id: str
    username: str
    verifier: str
    profile: str
    created_at: datetime
    device_id: str | None = None
    uses_allowed: int | None = 1
    uses: int = 0
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate that exists for the world, or (``presumed``) may exist.

    Attributes:
        crl_shard: which of its CA's partial CRLs its CRL distribution point names; 0 where it
            names the complete one, or none.
        seen_at: when its holder first used it here; None while nobody has.
    """

    ca: str
    serial_number: int
    status: CertificateStatus
    der: bytes | None
    spki_sha256: bytes
    subject: str
    profile: str
    identity: str
    device_id: str | None
    request_id: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    replaces: int | None = None
    revoked_at: datetime | None = None
    revocation_reason: RevocationReason | None = None
    invalidity_date: datetime | None = None
    crl_shard: int = 0
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One enrollment that was decided in the device's favour.

    Attributes:
        idempotency_key: digest of profile, identity, purpose and CertificationRequestInfo; unique
            among requests that are not rejected and younger than the idempotency window. Empty when
            it is read from a request that gave it up.
        plan: the certificate plan as JSON, before anything is asked of a CA.
    """

    id: str
    state: RequestState
    idempotency_key: bytes
    operation: Operation
    label: str | None
    profile: str
    identity: str
    device_id: str | None
    credential_id: str | None
    decision_id: str
    ca: str
    serial_number: int
    spki_sha256: bytes
    csr: bytes
    plan: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What was decided, by which profile text, and why.

    Attributes:
        rule: the rule that refused; None when allowed.
        trace: the gates as JSON (`est_server.profiles.decision`).
        csr: DER of the request, kept so that the decision can be replayed.
    """

    id: str
    request_id: str | None
    at: datetime
    operation: Operation
    label: str | None
    profile: str
    profile_digest: str
    identity: str | None
    device_id: str | None
    verdict: Literal["allow", "deny", "pending"]
    rule: str | None
    message: str
    trace: str
    csr: bytes
    ca: str | None = None
    serial_number: int | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Everything that must be durable before a CA is asked.

    Attributes:
        credential_id: the credential that pays one use, if any, the same as the request's;
            spending it is part of the transaction.
        register: a device to create because the profile registers at first enrollment.
        claim: the pending record that this request answers, if there is one.
        renews: CA and serial number of the certificate that proved who is asking, if one did.
        shown: CA and serial number of the certificate on the connection, if it is ours; it has
            been seen then.
        replaces: serial number of the certificate that is renewed.
        supersedes: certificates to be revoked in consequence, planned in the same transaction.
        others: how many valid certificates of its profile the identity has, as far as the decision
            knew; None where the profile does not count them.
        ordered: what a CA elsewhere is asked, to be asked again; None for one whose key is ours.
    """

    request: RequestRecord
    decision: DecisionRecord
    credential_id: str | None = None
    register: Device | None = None
    claim: Claim | None = None
    renews: tuple[str, int] | None = None
    shown: tuple[str, int] | None = None
    replaces: int | None = None
    supersedes: tuple[Supersession, ...] = ()
    others: int | None = None
    ordered: Ordered | None = None


NODE_ALIVE_FOR = timedelta(seconds=30)
"""A server reports itself every few seconds; one that has not for this long is gone or stuck."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What one server process says about itself, so that commands can find and follow it.

    Attributes:
        node: its name, another one at each start; its reservations carry it.
        rollovers: how far it follows each, such as ``issuing-g2:published``, in order.
        roles: what it does, such as ``est publisher``, in order.
    """

    node: str
    pid: int
    host: str
    started_at: datetime
    seen_at: datetime
    config_digest: str
    reload_serial: int
    reload_error: str | None
    rollovers: str = ""
    roles: str = ""


class Ledger(Protocol):
    """Devices, credentials, requests, decisions, certificates and their revocation, durably."""

    @property
    def audit(self) -> AuditLog:
        """The record of what was done, provably unchanged."""
        ...

    @property
    def pending(self) -> PendingRequests:
        """The requests that wait for a person."""
        ...

    @property
    def orders(self) -> Orders:
        """What CAs elsewhere were asked for."""
        ...

    @property
    def validation(self) -> Validation:
        """What processes without a CA's key need to answer for it."""
        ...

    @property
    def leases(self) -> Leases:
        """Who does what one process should do."""
        ...

    @property
    def upstream(self) -> UpstreamRevocations:
        """How far revocations have been carried to the CAs."""
        ...

    @property
    def revocations(self) -> Revocations:
        """What takes certificates out of use."""
        ...

    @property
    def supersessions(self) -> Supersessions:
        """The certificates that are revoked because others took their place."""
        ...

    @property
    def crls(self) -> Crls:
        """Numbers, contents and bytes of revocation lists."""
        ...

    @property
    def device_keys(self) -> DeviceKeys:
        """The secret keys that devices have too."""
        ...

    @property
    def appraisals(self) -> Appraisals:
        """What devices' evidence came to."""
        ...

    @property
    def nonces(self) -> Nonces:
        """The nonces that were given out for evidence."""
        ...

    @property
    def retention(self) -> Retention:
        """What may be forgotten."""
        ...

    @property
    def rollovers(self) -> Rollovers:
        """The ways of CAs from one root to the next."""
        ...

    # -- one enrollment ---------------------------------------------------------------------

    async def reserve(self, reservation: Reservation, *, window_start: datetime) -> None:
        """Write request, decision, credential use and device in one transaction.

        A request with the same idempotency key that is older than `window_start` gives up its key.

        Raises:
            Conflict: ``request.duplicate`` if a live request holds the idempotency key, or the
                approval that it claims is used up or gone; ``serial.duplicate`` if the CA has that
                serial; ``credential.spent`` if no use is left, or the credential is revoked by now;
                ``certificate.revoked`` and ``certificate.held`` if that is what became of the one
                it renews; ``key.compromised`` if the key is blocked by now; ``request.overtaken``
                if the identity has, or is about to get, more certificates than
                `Reservation.others` says.
        """
        ...

    async def record(self, request_id: str, certificate: CertificateRecord) -> None:
        """Move a reserved request to ``issued`` and write its certificate.

        Raises:
            Conflict: ``request.state`` if the request is not reserved; ``serial.duplicate``.
        """
        ...

    async def reserve_and_record(
        self, reservation: Reservation, certificate: CertificateRecord, *, window_start: datetime
    ) -> None:
        """`reserve` and `record` in one transaction, for a CA that holds its signature.

        Raises:
            Conflict: as in `reserve`.
        """
        ...

    async def settle(
        self, request_id: str, state: Literal["rejected", "parked"], *, reason: str, at: datetime
    ) -> None:
        """End a reserved request without a certificate.

        ``rejected`` frees its key, its use and the approval that it claimed.

        Raises:
            Conflict: ``request.state`` if the request is not reserved.
        """
        ...

    async def presume(self, request_id: str, certificate: CertificateRecord) -> None:
        """Write a certificate as ``presumed`` and reject its request, freeing key and use.

        Raises:
            Conflict: ``request.state`` if the request is not reserved; ``serial.duplicate``.
        """
        ...

    async def record_decision(self, decision: DecisionRecord) -> None:
        """Write a decision that issues nothing."""
        ...

    async def issued(self, idempotency_key: bytes, *, since: datetime) -> CertificateRecord | None:
        """Return the certificate that a request made since then with this key received."""
        ...

    async def request_by_key(self, idempotency_key: bytes) -> RequestRecord | None:
        """Return the live request that holds this key."""
        ...

    async def unsettled(self) -> Sequence[RequestRecord]:
        """Return the requests in state ``reserved``, oldest first."""
        ...

    async def abandoned(self, alive_since: datetime) -> Sequence[RequestRecord]:
        """Return the unsettled requests that nobody works on any more, oldest first.

        They were made before `alive_since`, by a process that has not reported itself since then
        (`report_node`) or has said that it ended (`forget_node`).
        """
        ...

    async def request(self, request_id: str) -> RequestRecord | None:
        """Return one request."""
        ...

    # -- certificates -----------------------------------------------------------------------

    async def certificate(self, ca: str, serial_number: int) -> CertificateRecord | None:
        """Return one certificate of a CA."""
        ...

    async def certificates(
        self,
        *,
        serial_number: int | None = None,
        device_id: str | None = None,
        identity: str | None = None,
        subject: str | None = None,
        profile: str | None = None,
        status: CertificateStatus | None = None,
        expires_before: datetime | None = None,
        limit: int = 100,
        after: tuple[datetime, int] | None = None,
    ) -> Sequence[CertificateRecord]:
        """Return certificates, newest first, at most `limit`.

        Args:
            serial_number: of any CA.
            device_id: of this device.
            identity: obtained by this identity, a device or not.
            subject: with exactly this subject, in RFC 4514 form.
            profile: of this profile.
            status: in this status.
            expires_before: not valid any more at that time.
            limit: page size.
            after: (issued_at, serial_number) of the previous page's last row.
        """
        ...

    # -- devices ----------------------------------------------------------------------------

    async def device(self, device_id: str) -> Device | None:
        """Return one device."""
        ...

    async def devices(
        self,
        *,
        profile: str | None = None,
        state: DeviceState | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Sequence[Device]:
        """Return devices by id, at most `limit`, starting behind the id `after`."""
        ...

    async def add_devices(self, devices: Sequence[Device]) -> None:
        """Create devices, all or none.

        Raises:
            Conflict: ``device.exists``, naming the first one that does.
        """
        ...

    async def set_device_state(
        self, device_id: str, state: DeviceState, *, expected: Sequence[DeviceState], at: datetime
    ) -> None:
        """Change a device's state.

        Raises:
            NotFound: ``device.unknown``.
            Conflict: ``device.state`` if its state is not one of `expected`.
        """
        ...

    # -- credentials ------------------------------------------------------------------------

    async def credential(self, username: str) -> Credential | None:
        """Return the unrevoked credential of this user name, spent or not, expired or not."""
        ...

    async def credentials(
        self, *, profile: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[Credential]:
        """Return credentials by user name, revoked ones too, starting behind the id `after`."""
        ...

    async def add_credential(self, credential: Credential) -> None:
        """Create a credential.

        Raises:
            Conflict: ``credential.exists`` if an unrevoked one has the user name.
        """
        ...

    async def revoke_credential(self, username: str, *, at: datetime) -> None:
        """Revoke the unrevoked credential of this user name.

        Raises:
            NotFound: ``credential.unknown``.
        """
        ...

    # -- decisions and configuration --------------------------------------------------------

    async def decisions(
        self,
        *,
        decision_id: str | None = None,
        request_id: str | None = None,
        device_id: str | None = None,
        identity: str | None = None,
        limit: int = 20,
    ) -> Sequence[DecisionRecord]:
        """Return decisions that match every argument given, newest identifier first.

        Identifiers sort by time (`est_server.enrollment.identifiers`).
        """
        ...

    async def remember_profiles(
        self, profiles: Mapping[str, tuple[str, str]], *, at: datetime
    ) -> None:
        """Keep profile texts: digest -> (name, text). Known digests are left alone."""
        ...

    async def profile_text(self, digest: str) -> tuple[str, str] | None:
        """Return (name, text) of a profile as it was under this digest."""
        ...

    async def report_node(self, status: NodeStatus) -> None:
        """Write or replace what a server process says about itself."""
        ...

    async def forget_node(self, node: str) -> None:
        """Remove a server process that ended."""
        ...

    async def nodes(self) -> Sequence[NodeStatus]:
        """Return what the server processes last said about themselves."""
        ...

    # -- the store itself -------------------------------------------------------------------

    async def ping(self) -> None:
        """Prove that reads and writes work."""
        ...

    async def close(self) -> None:
        """Finish pending writes and release the store."""
        ...
