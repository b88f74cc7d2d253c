"""The TLS that is spoken on listeners, and what a label answers to everybody."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from est_server.errors import BackendUnavailable
from est_server.profiles.csr_attributes import csr_attributes
from est_server.rollover.publication import presented, published
from est_server.web import metrics
from est_server.web.est import Pages
from est_server.web.proxies import Proxies
from est_server.web.tls_context import server_context
from est_server.wire.cms import certs_only
from est_server.wire.cms_signed import Signer, SigningKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from est_server.config.server import EstListener, TlsListener
    from est_server.enrollment.rulebook import Rulebook
    from est_server.ports.ca import CaCertificates, CertificateAuthority
    from est_server.ports.rollover import Rollover
    from est_server.profiles.profile import Profile

TlsIdentity = tuple[tuple[x509.Certificate, ...], Any]
"""Certificates, the server's own first, and its private key."""


def tls_identity(
    listener: TlsListener,
    base: Path,
    authorities: Mapping[str, CertificateAuthority],
    rollovers: Sequence[Rollover] = (),
) -> TlsIdentity:
    """Return the certificates and the key of a TLS listener.

    Args:
        listener: names certificate and key.
        base: the folder of server.yaml.
        authorities: every CA by name.
        rollovers: may put another certificate, or one more above it, in place.

    Raises:
        BackendUnavailable: ``tls.certificate``: they can't be read.
    """
    try:
        chain = x509.load_pem_x509_certificates((base / listener.certificate).read_bytes())
        key = load_pem_private_key(listener.key.read(base), None)
    except (OSError, ValueError, TypeError) as error:
        raise BackendUnavailable(
            "tls.certificate",
            f"the listener's certificate or key can't be read: {error}",
            hint=f"check {listener.certificate} and {listener.key.reference}",
        ) from error
    return presented(chain, rollovers, _certificates(authorities)), key


def tls_context(identity: TlsIdentity, *, ask: bool) -> Any:
    """Return the context of a TLS listener.

    Args:
        identity: its certificates and key.
        ask: whether to ask clients for a certificate.
    """
    chain, key = identity
    metrics.SERVER_CERTIFICATE_NOT_AFTER.set(chain[0].not_valid_after_utc.timestamp())
    return server_context(chain, key, request_client_certificate=ask)


def cms_signer(identity: TlsIdentity) -> Signer | None:
    """Return who signs CMS in this server's name: the listener's own certificate and key.

    None if a key of this kind makes no CMS signatures here.
    """
    (certificate, *above), key = identity
    return Signer(certificate, key, tuple(above)) if isinstance(key, SigningKey) else None


def key_signer(identity: TlsIdentity, rulebook: Rulebook) -> Signer | None:
    """Return who signs server-made keys: the listener's own certificate and key.

    None where no profile makes keys.

    Raises:
        BackendUnavailable: ``keygen.signer``: this kind of key can't sign CMS.
    """
    profiles = rulebook.profiles.values()
    if all(profile.model.server_key_generation is None for profile in profiles):
        return None
    signer = cms_signer(identity)
    if signer is None:
        raise BackendUnavailable(
            "keygen.signer",
            "server_key_generation needs a TLS key that signs CMS: EC, RSA or Ed25519",
            hint="give listeners.est another key",
        )
    return signer


def proxies_of(listener: EstListener) -> Proxies:
    """Return whose Client-Cert is believed."""
    given = listener.proxies
    if given is None:
        return Proxies()
    return Proxies(tuple(map(ip_network, given.networks)), given.only)


def pages_of(
    rulebook: Rulebook,
    authorities: Mapping[str, CertificateAuthority],
    rollovers: Sequence[Rollover] = (),
) -> dict[str | None, Pages]:
    """Return what each label answers to everybody: cacerts and csrattrs."""
    certificates = _certificates(authorities)

    def page(profile: Profile) -> Pages:
        cacerts = certs_only(published(profile.model.ca, rollovers, certificates))
        return Pages(cacerts, csr_attributes(profile))

    made = {name: page(profile) for name, profile in rulebook.profiles.items()}
    return {label: made[name] for label, name in rulebook.labels.items() if name in made}


def _certificates(authorities: Mapping[str, CertificateAuthority]) -> dict[str, CaCertificates]:
    return {name: authority.certificates() for name, authority in authorities.items()}
