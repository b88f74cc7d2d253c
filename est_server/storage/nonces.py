"""Nonces in an SQL ledger; see `est_server.ports.nonces`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from est_server.errors import Conflict
from est_server.ports.nonces import Nonce, TakenNonce
from est_server.storage import nonce_statements as sql
from est_server.storage import rows
from est_server.storage.transaction import Overtaken

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from est_server.ports.nonces import Nonces, Presented
    from est_server.storage.transaction import Found, Reads, Transaction, Writer

_REMEMBERED = timedelta(hours=1)
"""After that a nonce that expired is one that was never given out."""


@dataclass(frozen=True, slots=True)
class SqlNonces:
    """`Nonces` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def add(self, nonce: Nonce, *, most_per_client: int, most: int) -> None:
        now = rows.stamp(nonce.created_at)
        row = {
            "digest": nonce.digest,
            "label": nonce.label,
            "session": nonce.session,
            "cookie": nonce.cookie,
            "client": nonce.client,
            "created_at": now,
            "expires_at": rows.stamp(nonce.expires_at),
            "kept": nonce.kept,
            "used_by": None,
        }

        def work(db: Transaction) -> None:
            before = rows.stamp(nonce.created_at - _REMEMBERED)
            db.lock("nonces")
            db.change(sql.PURGE_NONCES, {"before": before})
            found = db.find(sql.OPEN_NONCES, {"now": now, "asking": nonce.client})
            if found is not None and (
                found["client"] >= most_per_client or found["everybody"] >= most
            ):
                raise Conflict("nonce.too-many", "too many nonces are not used yet; come later")
            db.change(sql.ADD_NONCE, row)

        await self._writer.run(work)

    async def get(self, digest: bytes) -> Nonce | None:
        row = await self._reads.one(sql.NONCE, {"wanted": digest})
        if row is None:
            return None
        return Nonce(
            digest=bytes(row["digest"]),
            label=row["label"],
            session=bytes(row["session"]),
            cookie=bytes(row["cookie"]),
            client=row["client"],
            created_at=rows.time(row["created_at"]),
            expires_at=rows.time(row["expires_at"]),
            kept=row["kept"],
        )

    async def take(self, digest: bytes, presented: Presented, *, at: datetime) -> TakenNonce:
        now = rows.stamp(at)

        def work(db: Transaction) -> TakenNonce:
            row = db.find(sql.NONCE, {"wanted": digest})
            if row is None:
                raise Conflict("nonce.unknown", "this server has not given out this nonce")
            if row["label"] != presented.label:
                raise Conflict("nonce.label", "the nonce was given out under another label")
            if not _bound(row, presented):
                raise Conflict(
                    "nonce.binding", "the nonce belongs to another TLS session, or to a cookie"
                )
            if row["expires_at"] <= now:
                raise Conflict("nonce.expired", "the nonce has expired")
            again = row["used_by"] is not None
            if again and bytes(row["used_by"]) != presented.use:
                raise Conflict("nonce.used", "the nonce was used before")
            taken = {"wanted": digest, "used": presented.use}
            if not again and not db.change(sql.TAKE_NONCE, taken):
                raise Overtaken
            return TakenNonce(row["kept"], again)

        return await self._writer.run(work)


def _bound(row: Found, presented: Presented) -> bool:
    session, cookie = bytes(row["session"]), bytes(row["cookie"])
    return (bool(session) and session == presented.session) or (
        bool(cookie) and cookie == presented.cookie
    )


_: Callable[[Reads, Writer], Nonces] = SqlNonces
