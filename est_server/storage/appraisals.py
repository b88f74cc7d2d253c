"""Appraisals in an SQL ledger; see `est_server.ports.appraisals`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.ports.appraisals import Appraisal
from est_server.storage import appraisal_statements as sql
from est_server.storage import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from est_server.ports.appraisals import Appraisals
    from est_server.storage.transaction import Found, Reads, Writer


@dataclass(frozen=True, slots=True)
class SqlAppraisals:
    """`Appraisals` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def add(self, appraisal: Appraisal) -> None:
        until = appraisal.evidence_until
        row = {
            "id": appraisal.id,
            "identity": appraisal.identity,
            "profile": appraisal.profile,
            "at": rows.stamp(appraisal.at),
            "status": appraisal.status,
            "rules": json.dumps(dict(appraisal.rules)),
            "policy": appraisal.policy[0],
            "policy_digest": appraisal.policy[1],
            "worse": json.dumps(appraisal.worse),
            "evidence": appraisal.evidence,
            "evidence_until": None if until is None else rows.stamp(until),
        }
        await self._writer.run(lambda db: db.change(sql.ADD_APPRAISAL, row))

    async def latest(self, identity: str, profile: str) -> Appraisal | None:
        row = await self._reads.one(sql.LATEST_APPRAISAL, {"who": identity, "under": profile})
        return None if row is None else _appraisal(row)

    async def of(self, identity: str, *, limit: int = 20) -> Sequence[Appraisal]:
        wanted = {"who": identity}
        found = await self._reads.page(sql.APPRAISALS, sql.APPRAISAL_FILTERS, wanted, limit)
        return [_appraisal(row) for row in found]

    async def forget_evidence(self, at: datetime) -> int:
        values = {"now": rows.stamp(at)}
        return await self._writer.run(lambda db: db.change(sql.FORGET_EVIDENCE, values))


def _appraisal(row: Found) -> Appraisal:
    until = row["evidence_until"]
    return Appraisal(
        id=row["id"],
        identity=row["identity"],
        profile=row["profile"],
        at=rows.time(row["at"]),
        status=row["status"],
        rules=json.loads(row["rules"]),
        policy=(row["policy"], row["policy_digest"]),
        worse=tuple(json.loads(row["worse"])),
        evidence=row["evidence"],
        evidence_until=None if until is None else rows.time(until),
    )


_: Callable[[Reads, Writer], Appraisals] = SqlAppraisals
