"""The ledger's statements about CRLs; see `est_server.storage.statements`.

A scope is a CA's complete list, which is every shard, or one shard: two forms of a statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from est_server.storage.revocation_tables import (
    crl_scopes,
    crls,
    revocation_entries,
)
from est_server.storage.tables import certificates, requests

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_p = bindparam
_NONE: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")
_e = revocation_entries.c
_SHARD = _e.crl_shard == _p("shard")

# -- scopes and their numbers ----------------------------------------------------------------------
SCOPES = select(crl_scopes).order_by(crl_scopes.c.ca, crl_scopes.c.crl_shard)
SCOPE = select(crl_scopes).where(
    crl_scopes.c.ca == _p("of_ca"), crl_scopes.c.crl_shard == _p("shard")
)
ADD_SCOPE = insert(crl_scopes)
RESERVE_NUMBER = (
    update(crl_scopes)
    .where(
        crl_scopes.c.ca == _p("of_ca"),
        crl_scopes.c.crl_shard == _p("shard"),
        crl_scopes.c.last_number == _p("known"),
    )
    .values(last_number=_p("next_number"), reserved_at=_p("now"))
)

# -- lists -----------------------------------------------------------------------------------------
_OF_SCOPE = and_(crls.c.ca == _p("of_ca"), crls.c.crl_shard == _p("shard"))
PUBLISHED = select(*(column for column in crls.c if column.name != "der")).order_by(
    crls.c.ca, crls.c.crl_shard, crls.c.number, crls.c.kind
)
LAST_PUBLISHED = select(func.coalesce(func.max(crls.c.number), _NONE)).where(_OF_SCOPE)
ADD_CRL = insert(crls)
EMPTY_OLDER = update(crls).where(
    _OF_SCOPE, crls.c.kind == _p("of_kind"), crls.c.number < _p("than")
).values(der=null())  # fmt: skip
DROP_ENDED = crls.delete().where(
    _OF_SCOPE,
    crls.c.number < _p("than"),
    crls.c.kind == _p("of_kind"),
    crls.c.next_update <= _p("end"),
)
CRL_DER = (
    select(crls.c.number, crls.c.der)
    .where(_OF_SCOPE, crls.c.kind == _p("of_kind"))
    .order_by(crls.c.number.desc())
    .limit(_ONE)
    .offset(_NONE)
)

# -- what lists are made of ------------------------------------------------------------------------
_ANY = (
    select(_e.sequence)
    .where(_e.ca == _p("of_ca"), _e.sequence > _p("since_sequence"))
    .limit(_ONE)
    .offset(_NONE)
)
CHANGED = {True: _ANY, False: _ANY.where(_SHARD)}

_COMPLETE = (
    select(_e.entry)
    .where(
        _e.ca == _p("of_ca"),
        _e.entry.is_not(None),
        or_(_e.not_after >= _p("expired_before"), _e.sequence > _p("listed_up_to")),
    )
    .order_by(_e.crl_shard, _e.serial_number)
)
COMPLETE = {True: _COMPLETE, False: _COMPLETE.where(_SHARD)}

_DIFFERENT = select(_e.serial_number, _e.not_after, _e.sequence, _e.entry).where(
    _e.ca == _p("of_ca")
)
_SINCE = _DIFFERENT.where(_e.sequence > _p("since_sequence"))
CHANGED_SINCE = {True: _SINCE, False: _SINCE.where(_SHARD)}
# no event since the base: it left the list, or came back, because of its end alone
_SAME = _DIFFERENT.where(_e.not_after < _p("ended_before"))
_ENDED = _SAME.where(_e.sequence <= _p("since_sequence"), _e.not_after >= _p("ended_from"))
_SHOWN = _SAME.where(_e.sequence > _p("shown_after"), _e.sequence <= _p("shown_up_to"))
ENDED_BETWEEN = {True: _ENDED, False: _ENDED.where(_SHARD)}
SHOWN_BETWEEN = {True: _SHOWN, False: _SHOWN.where(_SHARD)}

# -- what compact sets are made of -----------------------------------------------------------------
# one string of all serial numbers: a row for each of a million would take the interpreter's lock a
# million times, beside an event loop that answers OCSP
_c = certificates.c
_NOTHING: Any = literal_column("''")  # a statement holds no values of its own
_SERIALS = select(
    func.aggregate_strings(_c.serial_number, _NOTHING), func.min(_c.not_before)
).where(_c.ca == _p("of_ca"), _c.not_after >= _p("ends_from"))
_GOOD: ColumnElement[str] = literal_column("'good'")
SERIALS_GOOD = _SERIALS.where(_c.status == _GOOD)
SERIALS_NOT_GOOD = _SERIALS.where(_c.status != _GOOD)
_r = requests.c
_UNDER_WAY: ColumnElement[bool] = literal_column("state IN ('reserved', 'parked')")
SERIALS_UNDER_WAY = select(_r.serial_number, _r.state).where(_r.ca == _p("of_ca"), _UNDER_WAY)
