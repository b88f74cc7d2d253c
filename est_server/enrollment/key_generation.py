"""Keys that are made here for devices that can't (RFC 7030 4.4).

A key lives in memory from the decision that allowed it until its answer is written. It is in no
row, no log and no queue: a request that has to wait for a person has no key yet, and a device that
lost its answer gets another key with another certificate, which puts the first one out of use.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from est_server.enrollment.key_delivery import DeliveredKey, deliver
from est_server.errors import NotFound
from est_server.pki.authority import signature_hash
from est_server.pki.keys import generate_key
from est_server.ports.supersession import Supersession
from est_server.wire.pkcs10 import parse_csr

if TYPE_CHECKING:
    from est_server.enrollment.request import Enrolled
    from est_server.pki.plan import CertificatePlan
    from est_server.profiles.decision import Decision, KeyDelivery
    from est_server.profiles.profile import Profile
    from est_server.wire.cms_signed import Signer
    from est_server.wire.pkcs10 import CertificationRequest

MOST_AT_ONCE = 2
"""RSA keys that are made at the same time: each keeps a core busy for up to a second."""


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key: what the certificate says of it, and what leaves.

    Attributes:
        spki: DER SubjectPublicKeyInfo.
        csr: a PKCS #10 request signed with it, for CAs that want one.
        delivered: the private key.
    """

    spki: bytes
    csr: bytes
    delivered: DeliveredKey


@dataclass(slots=True)
class KeyGenerator:
    """Makes keys, a few at a time and beside the event loop.

    Attributes:
        signer: vouches for encrypted keys: the certificate and key of this server's own TLS, which
            the device has just believed (RFC 7030 3.6, 4.4.2); replaced at a reload. None where
            no profile makes keys, or its kind of key can't sign CMS.
    """

    signer: Signer | None = None
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))

    async def make(self, plan: CertificatePlan, delivery: KeyDelivery) -> MadeKey:
        """Return a new key of the plan's algorithm, in the form in which it is to leave."""
        algorithm = plan.key_algorithm
        if algorithm.startswith("RSA"):
            async with self._slots:
                loop = asyncio.get_running_loop()
                key: Any = await loop.run_in_executor(None, generate_key, algorithm)
        else:
            key = generate_key(algorithm)  # microseconds: a thread would cost more
        pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        request = x509.CertificateSigningRequestBuilder().subject_name(plan.subject)
        if plan.subject_alternative_names:
            names = x509.SubjectAlternativeName(plan.subject_alternative_names)
            request = request.add_extension(names, critical=False)
        return MadeKey(
            spki=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            csr=request.sign(key, signature_hash(key)).public_bytes(Encoding.DER),
            delivered=deliver(pkcs8, delivery.recipient, self.signer),
        )


def require_offered(profile: Profile) -> None:
    """Return if the profile makes keys.

    Raises:
        NotFound: ``keygen.not-offered``.
    """
    if profile.model.server_key_generation is None:
        raise NotFound("keygen.not-offered", "no keys are made under this label")


def read_keyless(profile: Profile, der: bytes) -> CertificationRequest:
    """Return a serverkeygen request as if it asked for a key of the algorithm that is made for it.

    RFC 7030 4.4.1: the request's key and signature are ignored. Its key's algorithm is taken for a
    wish where the profile makes such keys, and the profile's first algorithm else.

    Raises:
        Malformed: as in `parse_csr`, the key and the signature apart.
    """
    csr = parse_csr(der, keyless=True)
    section = profile.model.server_key_generation
    offered = () if section is None else section.algorithms
    algorithm = csr.key_algorithm if csr.key_algorithm in offered else "".join(offered[:1])
    return replace(csr, key_algorithm=algorithm)


def superseding(decision: Decision, earlier: Enrolled | None) -> Decision:
    """Return the decision that also puts the earlier answer to the same question out of use.

    Nobody but the device had that answer's key. One whose certificate has been used arrived, and
    so it stays: the device asked for a second one.
    """
    if earlier is None or earlier.certificate.seen_at is not None:
        return decision
    lost = earlier.certificate
    others = (
        one
        for one in decision.supersedes
        if (one.ca, one.serial_number) != (lost.ca, lost.serial_number)
    )
    plan = Supersession(lost.ca, lost.serial_number, decision.at)
    return replace(decision, supersedes=(*others, plan))
