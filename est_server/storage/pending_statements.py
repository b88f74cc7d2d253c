"""The statements of the review queue; see `est_server.storage.statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, insert, literal_column, select, text, update

from est_server.storage.tables import PENDING_OPEN, certificates, pending_requests, requests

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_p = bindparam
_c = pending_requests.c
_NONE: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")

ADD_PENDING = insert(pending_requests)
PENDING = select(pending_requests).where(_c.id == _p("pending"))
PENDING_OF_REQUEST = select(pending_requests).where(_c.request_id == _p("request"))
PENDING_CURRENT = (
    select(pending_requests)
    .where(_c.match_key == _p("match_key"))
    .order_by(_c.id.desc())
    .limit(_ONE)
    .offset(_NONE)
)
PENDING_OPEN_ONE = select(pending_requests).where(_c.match_key == _p("match_key"), PENDING_OPEN)
PENDING_OF_IDENTITY = (
    select(func.count().label("open"))
    .select_from(pending_requests)
    .where(_c.identity == _p("asker"), PENDING_OPEN)
)
PENDING_OVERDUE = select(pending_requests).where(_c.expires_at <= _p("at"), PENDING_OPEN)
MOVE_PENDING = (
    update(pending_requests)
    .where(_c.id == _p("pending"), _c.state == _p("from_"))
    .values(state=_p("to"), updated_at=_p("at"), request_id=_p("for_request"))
)
REVIEW_PENDING = (
    update(pending_requests)
    .where(_c.id == _p("pending"))
    .values(
        decided_by=_p("by"),
        decided_at=_p("at"),
        expires_at=_p("stands_until"),
        note=_p("said"),
        profile_digest=_p("digest_"),
    )
)
PENDING_CERTIFICATE = (
    select(certificates)
    .join(pending_requests, _c.request_id == certificates.c.request_id)
    .where(_c.id == _p("pending"))
)
PENDING_QUEUE = (
    select(func.count().label("waiting"), func.min(_c.created_at).label("oldest"))
    .select_from(pending_requests)
    .where(_c.state == literal_column("'waiting'"), PENDING_OPEN)
)
PENDING_FILTERS = {"state": _c.state == _p("state"), "open": PENDING_OPEN}
PENDING_LIST = select(pending_requests).order_by(_c.id.desc()).limit(_p("most")).offset(_NONE)
PARKED = (
    select(requests)
    .where(
        requests.c.state.in_([literal_column("'waiting'"), literal_column("'parked'")]),
        text("state IN ('reserved', 'waiting', 'parked')"),  # lets the partial index be used
    )
    .order_by(requests.c.id.desc())
    .limit(_p("most"))
    .offset(_NONE)
)
