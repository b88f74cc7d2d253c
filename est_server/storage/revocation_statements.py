"""The ledger's statements about revocation; see `est_server.storage.statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, insert, literal_column, select, tuple_, update

from est_server.storage.revocation_tables import (
    blocked_keys,
    revocation_entries,
    revocation_events,
)
from est_server.storage.tables import certificates

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_p = bindparam
_NONE: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")
_GOOD: ColumnElement[str] = literal_column("'good'")
_PRESUMED: ColumnElement[str] = literal_column("'presumed'")
_HELD: ColumnElement[str] = literal_column("'held'")
_REVOKED: ColumnElement[str] = literal_column("'revoked'")

LAST_SEQUENCE = select(func.coalesce(func.max(revocation_events.c.sequence), _NONE))
LAST_EVENT = (
    select(revocation_events)
    .order_by(revocation_events.c.sequence.desc())
    .limit(_ONE)
    .offset(_NONE)
)
EVENT_FILTERS = {
    "after": revocation_events.c.sequence > _p("after"),
    "serial_number": revocation_events.c.serial_number == _p("serial_number"),
}
EVENTS = (
    select(revocation_events).order_by(revocation_events.c.sequence).limit(_p("most")).offset(_NONE)
)
ADD_EVENT = insert(revocation_events)
SET_STATUS = (
    update(certificates)
    .where(certificates.c.ca == _p("of_ca"), certificates.c.serial_number == _p("of_serial"))
    .values(
        status=_p("to"),
        revoked_at=_p("date"),
        revocation_reason=_p("why"),
        invalidity_date=_p("invalid"),
    )
)
DROP_ENTRY = revocation_entries.delete().where(
    revocation_entries.c.ca == _p("of_ca"),
    revocation_entries.c.crl_shard == _p("shard"),
    revocation_entries.c.serial_number == _p("of_serial"),
)
ADD_ENTRY = insert(revocation_entries)
BLOCKED = select(blocked_keys.c.sequence).where(blocked_keys.c.spki_sha256 == _p("key"))
BLOCK = insert(blocked_keys)

SELECTION_FILTERS = {
    "revoke": certificates.c.status != _REVOKED,
    "hold": certificates.c.status.in_((_GOOD, _PRESUMED)),
    "release": certificates.c.status == _HELD,
    "not_good": certificates.c.status != _GOOD,  # lets the partial index be used
    "device_id": certificates.c.device_id == _p("device_id"),
    "profile": certificates.c.profile == _p("profile"),
    "issued_from": certificates.c.issued_at >= _p("issued_from"),
    "issued_before": certificates.c.issued_at < _p("issued_before"),
    "after": tuple_(certificates.c.issued_at, certificates.c.serial_number)
    < tuple_(_p("after_time"), _p("after_serial")),
}
SELECTED = (
    select(certificates)
    .order_by(certificates.c.issued_at.desc(), certificates.c.serial_number.desc())
    .limit(_p("most"))
    .offset(_NONE)
)
COUNT_SELECTED = (
    select(func.count().label("found")).select_from(certificates).limit(_p("most")).offset(_NONE)
)
