"""A soft CA, a ledger and an OCSP service over them, with clocks that tests set."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from backends.soft import SoftAuthority
from est_server.enrollment.responder import issue_responder
from est_server.pki.authority import Authority, make_issuing, make_root, make_server_certificate
from est_server.ports.ca import CaCertificates
from est_server.ports.ledger import CertificateRecord, DecisionRecord, RequestRecord, Reservation
from est_server.ports.revocation import Release, Revocation
from est_server.revocation.follower import EventFollower
from est_server.revocation.ocsp import CaAnswers, OcspService
from est_server.revocation.ocsp_memory import AnswerMemory, Lease, OcspAnswer, Slot
from est_server.revocation.ocsp_policy import OcspPolicy
from est_server.revocation.ocsp_responder import Responder
from est_server.storage.sqlite import SqliteLedger

# the library stamps producedAt itself: tests live today
START = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251
SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()


@dataclass
class Time:
    """Both clocks, moved by hand."""

    now: datetime = START
    elapsed: float = 1000.0

    def time_of_day(self) -> float:
        return self.now.timestamp()

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.elapsed += seconds


@dataclass
class World:
    """One or more CAs of one server."""

    ledger: SqliteLedger
    time: Time = field(default_factory=Time)
    lease: Lease = field(init=False)
    cas: dict[str, CaAnswers] = field(default_factory=dict)
    roots: dict[str, Authority] = field(default_factory=dict)
    leaves: dict[str, Any] = field(default_factory=dict)
    service: OcspService = field(init=False)
    follower: EventFollower = field(init=False)
    issue: Any = None

    def __post_init__(self) -> None:
        self.lease = Lease(lambda: self.time.elapsed, self.time.time_of_day)

    def add_ca(self, name: str = "issuing", algorithm: str = "EC-P256", **policy: Any) -> None:
        years = timedelta(days=3650)
        root = make_root(f"{name} root", algorithm, lifetime=years, now=START)
        made = make_issuing(root, name, algorithm, lifetime=years, now=START - timedelta(days=900))
        certificates = CaCertificates(made.certificate, (root.certificate,))
        authority = SoftAuthority(made.key, certificates)
        responder = Responder(
            name, authority, OcspPolicy(**policy), lambda: self.time.now, self._issue
        )
        self.roots[name] = made
        self.leaves[name] = make_server_certificate(
            made, ["leaf"], made.key.public_key(), lifetime=timedelta(days=1), now=START
        )
        self.cas[name] = CaAnswers(responder, AnswerMemory(self.lease))
        self.service = OcspService(self.ledger, self.lease, lambda: self.time.now, self.cas)
        self.follower = EventFollower(
            self.ledger.revocations,
            self.lease,
            {name: ca.follows() for name, ca in self.cas.items()},
        )

    async def _issue(self, authority, plan, key):
        if self.issue is not None:
            await self.issue()
        return await issue_responder(self.ledger, authority, plan, key, lambda: self.time.now)

    def issuer(self, name: str = "issuing"):
        return self.roots[name].certificate

    async def certificate(self, ca: str = "issuing", status: Any = "good", **fields: Any) -> int:
        """Put a certificate into the ledger and return its serial number."""
        name, at = secrets.token_hex(8), self.time.now
        serial = secrets.randbits(150) + 1
        decision = DecisionRecord(
            id=f"d_{name}", request_id=f"r_{name}", at=at, operation="simpleenroll", label=None,
            profile="p", profile_digest="", identity="SN", device_id="SN", verdict="allow",
            rule=None, message="", trace="{}", csr=b"",
        )  # fmt: skip
        request = RequestRecord(
            id=f"r_{name}", state="reserved", idempotency_key=secrets.token_bytes(32),
            operation="simpleenroll", label=None, profile="p", identity="SN", device_id="SN",
            credential_id=None, decision_id=decision.id, ca=ca, serial_number=serial,
            spki_sha256=secrets.token_bytes(32), csr=b"", plan="{}", created_at=at, updated_at=at,
        )  # fmt: skip
        record = {
            "ca": ca, "serial_number": serial, "status": status, "der": b"der",
            "spki_sha256": request.spki_sha256, "subject": "CN=SN", "profile": "p",
            "identity": "SN", "device_id": "SN", "request_id": request.id, "not_before": at,
            "not_after": at + timedelta(days=90), "issued_at": at,
        } | fields  # fmt: skip
        await self.ledger.reserve_and_record(
            Reservation(request, decision), CertificateRecord(**record), window_start=at
        )
        return serial

    async def revoke(self, serial: int, reason: Any = "keyCompromise", ca: str = "issuing") -> None:
        order = Revocation(ca, serial, reason, self.time.now, "test")
        await self.ledger.revocations.revoke([order])

    async def release(self, serial: int, ca: str = "issuing") -> None:
        await self.ledger.revocations.release([Release(ca, serial, self.time.now, "test")])

    def request(self, *serials: int, ca: str = "issuing", algorithm: Any = SHA1, nonce=None):
        """Return the DER of a request about one certificate."""
        (serial,) = serials
        name, key = hashed_issuer(self.leaves[ca], self.issuer(ca), algorithm)
        builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key, serial, algorithm)
        if nonce is not None:
            builder = builder.add_extension(nonce, critical=False)
        return builder.build().public_bytes(Encoding.DER)

    async def asked(self, request: bytes) -> tuple[OcspAnswer, Slot | None]:
        return await self.service.answer(request)

    async def status(self, serial: int, **how: Any) -> ocsp.OCSPResponse:
        answer, _ = await self.asked(self.request(serial, **how))
        return ocsp.load_der_ocsp_response(answer.der)


def hashed_issuer(leaf, issuer, algorithm) -> tuple[bytes, bytes]:
    """Return both hashes of a CertID, as the library makes them."""
    made = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, algorithm).build()
    return made.issuer_name_hash, made.issuer_key_hash


def code(answer: OcspAnswer) -> str:
    return ocsp.load_der_ocsp_response(answer.der).response_status.name.lower()
