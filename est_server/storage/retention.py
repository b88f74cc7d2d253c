"""The part of an SQL ledger that forgets; see `est_server.ports.retention`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.ports.retention import Forgotten
from est_server.storage import retention_statements as sql
from est_server.storage import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Executable

    from est_server.ports.retention import Cutoffs, Retention
    from est_server.storage.transaction import Reads, Transaction, Writer


@dataclass(frozen=True, slots=True)
class SqlRetention:
    """`Retention` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def forget(self, cutoffs: Cutoffs, *, limit: int = 200) -> Forgotten:
        found = Forgotten()
        if cutoffs.certificates is not None:
            ended = {"before": rows.stamp(cutoffs.certificates), "most": limit}
            found += await self._writer.run(lambda db: forget_ended(db, ended))
        if cutoffs.decisions is not None:
            old = {"before": rows.stamp(cutoffs.decisions), "most": limit}
            found += await self._writer.run(lambda db: forget_decided(db, old))
        return found

    async def count(self, cutoffs: Cutoffs) -> Forgotten:
        def look(db: Transaction) -> Forgotten:
            ended, old = cutoffs.certificates, cutoffs.decisions
            return Forgotten(
                certificates=_count(db, sql.COUNT_ENDED, ended),
                requests=_count(db, sql.COUNT_REQUESTS, old),
                decisions=_count(db, sql.COUNT_DECISIONS, old),
                reviews=_count(db, sql.COUNT_REVIEWS, old),
                credentials=_count(db, sql.COUNT_CREDENTIALS, old),
                lists=_count(db, sql.COUNT_LISTS, old),
            )

        return await self._reads.at_one_moment(look)


def _count(db: Transaction, statement: Executable, before: Any) -> int:
    if before is None:
        return 0
    row = db.find(statement, {"before": rows.stamp(before)})
    return 0 if row is None else int(row[0])


def forget_ended(db: Transaction, wanted: Mapping[str, Any]) -> Forgotten:
    """Forget certificates that ended, with all that is about them alone."""
    found = db.find_all(sql.ENDED, wanted)
    for row in found:
        which = {
            "of_ca": row["ca"],
            "of_serial": row["serial_number"],
            "request": row["request_id"],
        }
        for event in db.find_all(sql.EVENTS_OF, which):
            db.change(sql.FORGET_EVENT, {"sequence": event[0]})
        db.change(sql.FORGET_ENTRY, which)
        db.change(sql.FORGET_PLANS, which)
        db.change(sql.FORGET_CERTIFICATE, which)
        _forget_request(db, row["request_id"])
    return Forgotten(certificates=len(found))


def forget_decided(db: Transaction, wanted: Mapping[str, Any]) -> Forgotten:
    """Forget what was decided and came to nothing."""
    ended = db.find_all(sql.REQUESTS, wanted)
    for row in ended:
        _forget_request(db, row["id"])
    reviews = _each(db, sql.REVIEWS, wanted, sql.FORGET_REVIEW, "review")
    decided = db.find_all(sql.DECISIONS, wanted)
    for row in decided:
        _forget_decision(db, row["id"])
    spent = _each(db, sql.CREDENTIALS, wanted, sql.FORGET_CREDENTIAL, "credential")
    lists = db.change(sql.FORGET_LISTS, wanted)
    return Forgotten(0, len(ended), len(decided), reviews, spent, lists)


def _forget_request(db: Transaction, request_id: str) -> None:
    which = {"request": request_id}
    made = db.find(sql.DECISION_OF, which)
    db.change(sql.FORGET_ORDER, which)
    db.change(sql.FORGET_PLANS_OF, which)
    decided = [row["id"] for row in db.find_all(sql.DECISIONS_OF, which)]
    reviews = [row["id"] for row in db.find_all(sql.REVIEWS_OF, which)]
    db.change(sql.FORGET_REQUEST, which)
    for review in reviews:
        db.change(sql.FORGET_REVIEW, {"review": review})
    for decision in dict.fromkeys([*decided, *([] if made is None else [made[0]])]):
        _forget_decision(db, decision)


def _forget_decision(db: Transaction, decision_id: str) -> None:
    db.change(sql.FORGET_APPRAISAL, {"decision": decision_id})
    db.change(sql.FORGET_DECISION, {"decision": decision_id})


def _each(
    db: Transaction, which: Executable, wanted: Mapping[str, Any], forget: Executable, name: str
) -> int:
    found = db.find_all(which, wanted)
    for row in found:
        db.change(forget, {name: row["id"]})
    return len(found)


_: Callable[[Reads, Writer], Retention] = SqlRetention
