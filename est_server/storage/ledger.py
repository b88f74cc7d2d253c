"""The ledger on an SQL database; `est_server.storage.sqlite` and `postgres` say on which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from est_server.storage import rows
from est_server.storage import statements as sql
from est_server.storage import writes as write
from est_server.storage.appraisals import SqlAppraisals
from est_server.storage.audit import SqlAudit
from est_server.storage.audit_writer import AuditedWriter
from est_server.storage.crls import SqlCrls
from est_server.storage.device_keys import SqlDeviceKeys
from est_server.storage.leases import SqlLeases
from est_server.storage.nonces import SqlNonces
from est_server.storage.orders import SqlOrders
from est_server.storage.pending import SqlPending
from est_server.storage.retention import SqlRetention
from est_server.storage.revocation import SqlRevocations
from est_server.storage.rollover import SqlRollovers
from est_server.storage.supersession import SqlSupersessions
from est_server.storage.upstream import SqlUpstream
from est_server.storage.validation import SqlValidation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from est_server.ports.ledger import (
        CertificateRecord,
        CertificateStatus,
        Credential,
        DecisionRecord,
        Device,
        DeviceState,
        Ledger,
        NodeStatus,
        RequestRecord,
        Reservation,
    )
    from est_server.storage.transaction import Reads, Transaction, Writer


class SqlLedger:
    """A `Ledger`; see the port for what each method promises.

    Args:
        reads: of one database.
        writer: of the same; `est_server.storage.schema` has made its tables.
        node: whose reservations these are, as in `NodeStatus`; empty for a command.
        actor: whose acts these are in the audit log, where the acts themselves don't say.
    """

    def __init__(self, reads: Reads, writer: Writer, node: str, actor: str = "est-server") -> None:
        writer = AuditedWriter(writer, actor)
        self._node = node
        self._reads = reads
        self._writer = writer
        self.audit = SqlAudit(reads, writer, actor)
        self.device_keys = SqlDeviceKeys(reads, writer)
        self.appraisals = SqlAppraisals(reads, writer)
        self.leases = SqlLeases(reads, writer)
        self.nonces = SqlNonces(reads, writer)
        self.orders = SqlOrders(reads, writer, node, write.add_certificate)
        self.pending = SqlPending(reads, writer)
        self.revocations = SqlRevocations(reads, writer)
        self.supersessions = SqlSupersessions(reads, writer)
        self.crls = SqlCrls(reads, writer)
        self.retention = SqlRetention(reads, writer)
        self.rollovers = SqlRollovers(reads, writer)
        self.upstream = SqlUpstream(reads, writer)
        self.validation = SqlValidation(reads, writer)

    # -- one enrollment ---------------------------------------------------------------------

    async def reserve(self, reservation: Reservation, *, window_start: datetime) -> None:
        since = rows.stamp(window_start)
        node = self._node
        await self._writer.run(lambda db: write.reserve(db, reservation, since, node))

    async def record(self, request_id: str, certificate: CertificateRecord) -> None:
        await self._writer.run(lambda db: write.record(db, request_id, certificate))

    async def reserve_and_record(
        self, reservation: Reservation, certificate: CertificateRecord, *, window_start: datetime
    ) -> None:
        def work(db: Transaction) -> None:
            write.reserve(db, reservation, since, node, "issued")
            write.add_certificate(db, certificate)

        since, node = rows.stamp(window_start), self._node
        await self._writer.run(work)

    async def settle(
        self, request_id: str, state: Literal["rejected", "parked"], *, reason: str, at: datetime
    ) -> None:
        stamp = rows.stamp(at)
        await self._writer.run(lambda db: write.settle(db, request_id, state, stamp, reason))

    async def presume(self, request_id: str, certificate: CertificateRecord) -> None:
        await self._writer.run(lambda db: write.presume(db, request_id, certificate))

    async def record_decision(self, decision: DecisionRecord) -> None:
        await self._writer.run(lambda db: write.record_decision(db, decision))

    async def issued(self, idempotency_key: bytes, *, since: datetime) -> CertificateRecord | None:
        values = {"key": idempotency_key, "since": rows.stamp(since)}
        row = await self._reads.one(sql.ISSUED, values)
        return None if row is None else rows.certificate_record(row)

    async def request_by_key(self, idempotency_key: bytes) -> RequestRecord | None:
        row = await self._reads.one(sql.REQUEST_BY_KEY, {"key": idempotency_key})
        return None if row is None else rows.request_record(row)

    async def request(self, request_id: str) -> RequestRecord | None:
        row = await self._reads.one(sql.REQUEST, {"request": request_id})
        return None if row is None else rows.request_record(row)

    async def unsettled(self) -> Sequence[RequestRecord]:
        return [rows.request_record(row) for row in await self._reads.all(sql.UNSETTLED)]

    async def abandoned(self, alive_since: datetime) -> Sequence[RequestRecord]:
        values = {"alive_since": rows.stamp(alive_since)}
        found = await self._reads.all(sql.ABANDONED, values)
        return [rows.request_record(row) for row in found]

    # -- certificates -----------------------------------------------------------------------

    async def certificate(self, ca: str, serial_number: int) -> CertificateRecord | None:
        values = {"ca": ca, "serial_number": rows.serial_wanted(serial_number)}
        row = await self._reads.one(sql.CERTIFICATE, values)
        return None if row is None else rows.certificate_record(row)

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
        wanted = _given(
            {
                "device_id": device_id,
                "identity": identity,
                "subject": subject,
                "profile": profile,
                "status": status,
            }
        )
        if status not in {None, "good"}:
            wanted["not_good"] = True
        if serial_number is not None:
            wanted["serial_number"] = rows.serial_wanted(serial_number)
        if expires_before is not None:
            wanted["expires_before"] = rows.stamp(expires_before)
        if after is not None:
            wanted |= {
                "after": True,
                "after_time": rows.stamp(after[0]),
                "after_serial": rows.serial_wanted(after[1]),
            }
        found = await self._reads.page(sql.CERTIFICATES, sql.CERTIFICATE_FILTERS, wanted, limit)
        return [rows.certificate_record(row) for row in found]

    # -- devices ----------------------------------------------------------------------------

    async def device(self, device_id: str) -> Device | None:
        row = await self._reads.one(sql.DEVICE, {"device": device_id})
        return None if row is None else rows.device_record(row)

    async def devices(
        self,
        *,
        profile: str | None = None,
        state: DeviceState | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Sequence[Device]:
        wanted = _given({"profile": profile, "state": state, "after": after})
        if state not in {None, "active"}:
            wanted["not_active"] = True
        found = await self._reads.page(sql.DEVICES, sql.DEVICE_FILTERS, wanted, limit)
        return [rows.device_record(row) for row in found]

    async def add_devices(self, devices: Sequence[Device]) -> None:
        await self._writer.run(lambda db: write.add_devices(db, devices))

    async def set_device_state(
        self, device_id: str, state: DeviceState, *, expected: Sequence[DeviceState], at: datetime
    ) -> None:
        stamp = rows.stamp(at)
        await self._writer.run(
            lambda db: write.set_device_state(db, device_id, state, expected, stamp)
        )

    # -- credentials ------------------------------------------------------------------------

    async def credential(self, username: str) -> Credential | None:
        row = await self._reads.one(sql.CREDENTIAL, {"user": username})
        return None if row is None else rows.credential_record(row)

    async def credentials(
        self, *, profile: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[Credential]:
        wanted = _given({"profile": profile, "after": after})
        found = await self._reads.page(sql.CREDENTIALS, sql.CREDENTIAL_FILTERS, wanted, limit)
        return [rows.credential_record(row) for row in found]

    async def add_credential(self, credential: Credential) -> None:
        await self._writer.run(lambda db: write.add_credential(db, credential))

    async def revoke_credential(self, username: str, *, at: datetime) -> None:
        stamp = rows.stamp(at)
        await self._writer.run(lambda db: write.revoke_credential(db, username, stamp))

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
        wanted = _given(
            {
                "decision_id": decision_id,
                "request_id": request_id,
                "device_id": device_id,
                "identity": identity,
            }
        )
        found = await self._reads.page(sql.DECISIONS, sql.DECISION_FILTERS, wanted, limit)
        return [rows.decision_record(row) for row in found]

    async def remember_profiles(
        self, profiles: Mapping[str, tuple[str, str]], *, at: datetime
    ) -> None:
        stamp = rows.stamp(at)
        await self._writer.run(lambda db: write.remember_profiles(db, profiles, stamp))

    async def profile_text(self, digest: str) -> tuple[str, str] | None:
        row = await self._reads.one(sql.PROFILE_TEXT, {"digest_": digest})
        return None if row is None else (row["name"], row["text"])

    async def report_node(self, status: NodeStatus) -> None:
        await self._writer.run(lambda db: write.report_node(db, status))

    async def forget_node(self, node: str) -> None:
        await self._writer.run(lambda db: write.forget_node(db, node))

    async def nodes(self) -> Sequence[NodeStatus]:
        return [rows.node_record(row) for row in await self._reads.all(sql.NODES)]

    # -- the store itself -------------------------------------------------------------------

    async def ping(self) -> None:
        await self._reads.one(sql.PROFILE_TEXT, {"digest_": ""})
        await self._writer.run(write.touch)

    async def close(self) -> None:
        await self._writer.close()
        await self._reads.close()


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


_: Callable[[Reads, Writer, str], Ledger] = SqlLedger
