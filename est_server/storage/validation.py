"""What is kept for validation in an SQL ledger; see `est_server.ports.validation`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, LargeBinary, Table, Text, bindparam, delete, insert, select

from est_server.ports.validation import SharedResponder, ShownCa
from est_server.storage.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.ports.validation import Validation
    from est_server.storage.transaction import Reads, Transaction, Writer

shown_cas = Table(
    "shown_cas",
    metadata,
    Column("ca", Text, primary_key=True),
    Column("issuer", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),  # certificates one after the other
)

shared_responders = Table(
    "shared_responders",
    metadata,
    Column("ca", Text, primary_key=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("key", LargeBinary, nullable=False),
)

_p = bindparam
_WHICH_CA = shown_cas.c.ca == _p("of_ca")
_WHOSE = shared_responders.c.ca == _p("of_ca")
CA = select(shown_cas).where(_WHICH_CA)
FORGET_CA = delete(shown_cas).where(_WHICH_CA)
ADD_CA = insert(shown_cas)
RESPONDER = select(shared_responders).where(_WHOSE)
FORGET_RESPONDER = delete(shared_responders).where(_WHOSE)
ADD_RESPONDER = insert(shared_responders)


def _one_after_the_other(chain: bytes) -> tuple[bytes, ...]:
    """Split certificates; each tells its length (X.690 8.1.3)."""
    found = []
    while chain:
        octets = chain[1] & 0x7F if chain[1] & 0x80 else 0
        length = int.from_bytes(chain[2 : 2 + octets]) if octets else chain[1]
        end = 2 + octets + length
        found.append(chain[:end])
        chain = chain[end:]
    return tuple(found)


def _replace(db: Transaction, forget: Any, add: Any, row: dict[str, object]) -> None:
    db.change(forget, {"of_ca": row["ca"]})
    db.change(add, row)


@dataclass(frozen=True, slots=True)
class SqlValidation:
    """`Validation` on the connections of its ledger."""

    _reads: Reads
    _writer: Writer

    async def ca(self, name: str) -> ShownCa | None:
        row = await self._reads.one(CA, {"of_ca": name})
        if row is None:
            return None
        return ShownCa(bytes(row["issuer"]), _one_after_the_other(bytes(row["chain"])))

    async def show_ca(self, name: str, shown: ShownCa) -> None:
        row: dict[str, object] = {
            "ca": name, "issuer": shown.issuer, "chain": b"".join(shown.chain)
        }  # fmt: skip
        await self._writer.run(lambda db: _replace(db, FORGET_CA, ADD_CA, row))

    async def responder(self, ca: str) -> SharedResponder | None:
        row = await self._reads.one(RESPONDER, {"of_ca": ca})
        if row is None:
            return None
        return SharedResponder(bytes(row["certificate"]), bytes(row["key"]))

    async def share_responder(self, ca: str, responder: SharedResponder) -> None:
        row: dict[str, object] = {
            "ca": ca, "certificate": responder.certificate, "key": responder.key
        }  # fmt: skip
        await self._writer.run(lambda db: _replace(db, FORGET_RESPONDER, ADD_RESPONDER, row))


_: Callable[[Reads, Writer], Validation] = SqlValidation
