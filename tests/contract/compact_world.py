"""A CA that publishes compact sets, and what its certificates have become."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from crl_world import HOUR, CrlWorld, authority
from ledger_world import any_key, certificate, issue, reservation

from backends.soft import SoftAuthority
from est_server.pki.authority import authority_key_identifier
from est_server.ports.ca import CaCertificates
from est_server.revocation.compact import CompactSetIssuer, CompactTimes
from est_server.revocation.publisher import CrlPublisher
from est_server.wire.compact_set import verify_compact_set

BACKDATE = timedelta(minutes=1)
COMPACT_TIMES = CompactTimes(every=HOUR, lifetime=24 * HOUR, lag=HOUR)


@dataclass
class Certificate:
    """One of the CA's, as its holder has it, and what the ledger has made of it."""

    serial: int
    not_before: Any
    not_after: Any
    status: str = "good"
    made: Any = None  # the reservation, as long as it is under way


@dataclass
class CompactWorld(CrlWorld):
    """Like `CrlWorld`, with sets in place of lists."""

    certificates: dict[int, Certificate] = field(default_factory=dict)

    def new_publisher(self, ledger=None):
        root = authority(self.algorithm)
        soft = SoftAuthority(root.key, CaCertificates(root.certificate, ()))
        identifier = authority_key_identifier(root.certificate).key_identifier
        issuer = CompactSetIssuer("ca", soft, identifier, COMPACT_TIMES)
        return CrlPublisher({"ca": issuer}, ledger or self.ledger, self.outlets, self.clock)

    def set(self, publisher=None):
        der = (publisher or self.publisher).documents["ca.set"].der
        return verify_compact_set(der, authority(self.algorithm).certificate)

    async def certify(self, serial, *, lives=timedelta(90), under_way=False):
        begins = (self.now - BACKDATE).replace(microsecond=0)
        made = reservation(any_key(), serial=serial, at=self.now)
        found = Certificate(serial, begins, begins + lives, made=made)
        self.certificates[serial] = found
        times = {"not_before": found.not_before, "not_after": found.not_after}
        if under_way:
            await self.ledger.reserve(made, window_start=self.now - 24 * HOUR)
        else:
            await issue(self.ledger, made, **times)
            found.made = None
        return found

    async def arrive(self, serial, status="good"):
        """Let a certificate that is under way come to its end: issued, or lost in a crash."""
        found = self.certificates[serial]
        fields = {"not_before": found.not_before, "not_after": found.not_after}
        record = certificate(found.made, status, **fields)
        write = self.ledger.record if status == "good" else self.ledger.presume
        await write(found.made.request.id, record)
        found.status, found.made = status, None

    async def change(self, serial, reason):
        await self.revoke(serial, reason)
        held = reason == "certificateHold"
        self.certificates[serial].status = "held" if held else "revoked"

    async def unhold(self, serial):
        await self.release(serial)
        self.certificates[serial].status = "good"

    def answers(self, found, serials=None):
        """Return what a set says of the world's certificates."""
        return {
            one.serial: found.answer(one.serial, one.not_before, one.not_after)
            for one in self.certificates.values()
            if serials is None or one.serial in serials
        }
