"""What reaches the use case: a request as bytes and facts, with no web in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from est_server.enrollment.key_delivery import DeliveredKey
    from est_server.ports.ledger import CertificateRecord, Operation
    from est_server.ports.tls import TlsFacts
    from est_server.profiles.decision import ChannelBinding, Identity


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """User name and password of HTTP Basic (RFC 7617), as sent."""

    username: str
    password: str = field(repr=False)


@dataclass(slots=True)
class Trail:
    """What became known of a request on its way, for the log; filled in as it is learned.

    Attributes:
        identity: who asks.
        spki: DER of the key that the request is about.
        binding: what became of its channel binding.
    """

    identity: Identity | None = None
    spki: bytes | None = None
    binding: ChannelBinding | None = None


@dataclass(frozen=True, slots=True)
class EnrollmentRequest:
    """One simpleenroll, simplereenroll or serverkeygen (RFC 7030 4.2, 4.4).

    Attributes:
        operation: what is asked for.
        label: the URL's label, None without one.
        body: the HTTP body, capped in size, not yet parsed: a PKCS #10 request in any form.
        tls: facts of the connection.
        credentials: HTTP Basic, if sent.
        peer: the address that connects, for limits and the log.
        nonce_cookie: what came back of the cookie that went with a nonce; None without.
        trail: is filled in on the way, also of a request that fails.
    """

    operation: Operation
    label: str | None
    body: bytes
    tls: TlsFacts
    credentials: BasicCredentials | None
    peer: str
    nonce_cookie: str | None = field(default=None, repr=False)
    trail: Trail = field(default_factory=Trail, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The answer: a certificate that is in the ledger.

    Attributes:
        certificate: its record; `der` is never None.
        decision_id: the decision that allowed it; None when `repeated`.
        repeated: True if an earlier answer was given again (same identity, profile, purpose and
            CertificationRequestInfo).
        key: for serverkeygen: the private key, which is nowhere else.
    """

    certificate: CertificateRecord
    decision_id: str | None
    repeated: bool
    key: DeliveredKey | None = None
