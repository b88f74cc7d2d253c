"""A CA with revoked certificates, a clock that tests set, and how others see its lists."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from ledger_world import any_key, issue, reservation

from backends.soft import SoftAuthority
from est_server.pki.authority import authority_key_identifier, make_root
from est_server.ports.ca import CaCertificates
from est_server.ports.crl import crl_file
from est_server.ports.revocation import Release, Revocation
from est_server.revocation.issuer import CrlIssuer
from est_server.revocation.planning import CrlTimes
from est_server.revocation.publisher import CrlPublisher
from est_server.wire.crl_reading import read_crl

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
URL = "http://pki.example.net/crl/"
TIMES = CrlTimes(24 * HOUR, 8 * HOUR, HOUR)


@cache
def authority(algorithm):
    return make_root("Issuing", algorithm, lifetime=timedelta(3650), now=START)


@dataclass
class CrlWorld:
    """A ledger, its CA and its publishers, at a time of the test's own."""

    ledger: Any
    times: CrlTimes = TIMES
    shards: int = 0
    outlets: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "EC-P256"
    now: datetime = START
    published: list[Any] = field(default_factory=list)

    def __post_init__(self):
        self.publisher = self.new_publisher()

    def clock(self):
        return self.now

    def new_publisher(self, ledger=None):
        """Return a publisher that knows nothing yet, as after a restart or in another process."""
        root = authority(self.algorithm)
        soft = SoftAuthority(root.key, CaCertificates(root.certificate, ()))
        issuer = CrlIssuer(
            ca="ca",
            signer=soft,
            subject=root.certificate.subject.public_bytes(),
            key_identifier=authority_key_identifier(root.certificate).key_identifier,
            times=self.times,
            shards=self.shards,
            url=URL,
        )
        return CrlPublisher({"ca": issuer}, ledger or self.ledger, self.outlets, self.clock)

    async def issue(self, serial, *, shard=0, not_after=None, **fields):
        made = reservation(any_key(), serial=serial, at=self.now, **fields)
        end = not_after or self.now + timedelta(90)
        await issue(self.ledger, made, crl_shard=shard, not_after=end)

    async def revoke(self, serial, reason="superseded", **fields):
        order = Revocation("ca", serial, reason, self.now, "test", **fields)
        return await self.ledger.revocations.revoke([order])

    async def release(self, serial):
        return await self.ledger.revocations.release([Release("ca", serial, self.now, "test")])

    async def turn(self, publisher=None, **options):
        """Let a publisher have its turn, without the rest that it takes."""
        publisher = publisher or self.publisher
        publisher._rest_until.clear()
        done = await publisher.turn(**options)
        self.published += done
        return [(one.crl.kind, one.crl.number) for one in done]

    async def settle(self):
        """Let the publisher do all that is due, which takes a second now and then."""
        await self.publisher.start()
        for _ in range(6):
            done = await self.turn()
            if not done:
                return
            self.now += SECOND

    def der(self, shard=0, kind="base"):
        return self.publisher.documents[crl_file("ca", shard, kind)].der

    def crl(self, shard=0, kind="base"):
        return read_crl(self.der(shard, kind))


def listed(crl):
    """Return serial number -> (reason, date, invalidity date) of a list's entries."""
    found = {}
    for entry in crl.entries():
        assert entry.serial_number not in found, "twice"
        found[entry.serial_number] = (entry.reason, entry.revoked_at, entry.invalidity_date)
    return found


def applied(base, delta):
    """Return what a relying party has that puts a delta on its base (RFC 5280 5.2.4)."""
    assert delta.base_number <= base.number
    found = listed(base)
    for serial, entry in listed(delta).items():
        if entry[0] == "remove_from_crl":
            found.pop(serial, None)
        else:
            found[serial] = entry
    return found


@contextmanager
def broken(target, name, error):
    """Let a method of an object's class fail while the block runs."""
    before = getattr(type(target), name)

    async def fail(*_arguments, **_options):
        raise error

    setattr(type(target), name, fail)
    try:
        yield
    finally:
        setattr(type(target), name, before)
