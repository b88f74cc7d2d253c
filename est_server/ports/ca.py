"""The certificate authority behind enrollment.

A backend is found by entry point (group ``est_server.backends``). The required port is small;
further powers (`SignsTbs`; revoking, looking up by idempotency token) are protocols of their own
that a backend may implement as well, and that its `Capabilities` declare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from est_server.pki.plan import CertificatePlan
    from est_server.ports.clock import Clock


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do, checked against the profiles at start.

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
    """

    device_keys: frozenset[str] = frozenset()
    local_key: bool = False
    holds_signature: bool = False
    signs_tbs: bool = False


@dataclass(frozen=True, slots=True)
class IssuanceOrder:
    """One certificate to be made, completely described.

    Attributes:
        plan: every field of the certificate. The CSR is never a source of extensions.
        serial_number: positive, at least 64 random bits, at most 20 octets (RFC 5280 4.1.2.2); a
            backend that numbers by itself ignores it.
        idempotency_token: equal for retries of the same order; at most 64 characters of
            ``[A-Za-z0-9_-]``.
        csr: DER of the PKCS #10 request, for upstream CAs that want the device's own signature.
    """

    plan: CertificatePlan
    serial_number: int
    idempotency_token: str
    csr: bytes


@dataclass(frozen=True, slots=True)
class CaCertificates:
    """The issuing CA's certificate and the way up to its root.

    Attributes:
        issuer: the certificate whose key signs.
        chain: every certificate above it, the issuer's own issuer first, the root last; empty
            when the issuer is itself a root.
    """

    issuer: x509.Certificate
    chain: tuple[x509.Certificate, ...]


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
        """What this authority can do; constant while it is open."""
        ...

    def certificates(self) -> CaCertificates:
        """Return the current issuer and chain; cheap, from memory."""
        ...

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Make the certificate of `order`.

        The same `order.idempotency_token` never yields two different certificates within the
        backend's own window.

        Raises:
            BackendRejected: the CA's own verdict; nothing was issued.
            BackendUnavailable: no verdict; the certificate may exist.
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

    def open(self, settings: Any, context: BackendContext) -> CertificateAuthority:
        """Open the authority.

        Args:
            settings: an instance of `settings_model`.
            context: name, base folder and clock.

        Raises:
            BackendUnavailable: the key or the upstream can't be reached; the hint says what to do.
        """
        ...
