"""Statements of the part of the ledger that forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, delete, exists, func, literal_column, or_, select

from est_server.storage.appraisal_statements import appraisals
from est_server.storage.order_statements import orders
from est_server.storage.revocation_tables import (
    crl_scopes,
    crls,
    revocation_entries,
    revocation_events,
)
from est_server.storage.supersession_statements import supersessions
from est_server.storage.tables import (
    PENDING_OPEN,
    certificates,
    credentials,
    decisions,
    pending_requests,
    requests,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

_p = bindparam
_NONE: ColumnElement[int] = literal_column("0")
_BASE: ColumnElement[str] = literal_column("'base'")
_REJECTED: ColumnElement[str] = literal_column("'rejected'")
_cert, _entry, _event, _list = (
    certificates.c, revocation_entries.c, revocation_events.c, crls.c
)  # fmt: skip


def _of_certificate(table: Any) -> ColumnElement[bool]:
    return and_(table.ca == _cert.ca, table.serial_number == _cert.serial_number)


_complete = and_(
    _list.ca == _cert.ca,
    or_(_list.crl_shard == _NONE, _list.crl_shard == _cert.crl_shard),
    _list.kind == _BASE,
    _list.der.is_not(None),
)
# a list in force keeps it, or has not shown it yet (`est_server.ports.crl.Extent.keeps`)
_listed = exists().where(
    _of_certificate(_entry),
    _complete,
    or_(_entry.not_after >= _list.expired_before, _entry.sequence > _list.listed_up_to),
)
_never_listed = and_(
    exists().where(_of_certificate(_entry)),
    exists().where(crl_scopes.c.ca == _cert.ca, crl_scopes.c.crl_shard == _NONE),
    ~exists().where(_complete),
)
_newest = exists().where(
    _of_certificate(_event),
    _event.sequence == select(func.max(_event.sequence)).scalar_subquery(),
)
# the proof of why its key is blocked, for good
_compromised = func.coalesce(_cert.revocation_reason, literal_column("''")) == literal_column(
    "'keyCompromise'"
)
_forgettable = and_(
    _cert.not_after < _p("before"), ~_compromised, ~_listed, ~_never_listed, ~_newest
)

_unneeded_request = and_(
    requests.c.state == _REJECTED,
    requests.c.updated_at < _p("before"),
    ~exists().where(_cert.request_id == requests.c.id),
)
_unneeded_review = and_(
    ~PENDING_OPEN,
    pending_requests.c.updated_at < _p("before"),
    ~exists().where(requests.c.id == pending_requests.c.request_id),
)
_unneeded_decision = and_(
    decisions.c.at < _p("before"),
    ~exists().where(requests.c.decision_id == decisions.c.id),
    ~exists().where(requests.c.id == decisions.c.request_id),
    ~exists().where(pending_requests.c.decision_id == decisions.c.id),
)
_unneeded_credential = and_(
    or_(
        credentials.c.revoked_at < _p("before"),
        credentials.c.expires_at < _p("before"),
        and_(
            credentials.c.uses >= credentials.c.uses_allowed,
            credentials.c.created_at < _p("before"),
        ),
    ),
    ~exists().where(requests.c.credential_id == credentials.c.id),
)


def _some(columns: Any, condition: ColumnElement[bool]) -> Select[Any]:
    return select(*columns).where(condition).limit(_p("most")).offset(_NONE)


def _count(table: Any, condition: ColumnElement[bool]) -> Select[Any]:
    return select(func.count()).select_from(table).where(condition)


ENDED = _some((_cert.ca, _cert.serial_number, _cert.request_id), _forgettable)
REQUESTS = _some((requests.c.id,), _unneeded_request)
REVIEWS = _some((pending_requests.c.id,), _unneeded_review)
DECISIONS = _some((decisions.c.id,), _unneeded_decision)
CREDENTIALS = _some((credentials.c.id,), _unneeded_credential)

COUNT_ENDED = _count(certificates, _forgettable)
COUNT_REQUESTS = _count(requests, _unneeded_request)
COUNT_REVIEWS = _count(pending_requests, _unneeded_review)
COUNT_DECISIONS = _count(decisions, _unneeded_decision)
COUNT_CREDENTIALS = _count(credentials, _unneeded_credential)
_superseded = and_(_list.der.is_(None), _list.next_update < _p("before"))
COUNT_LISTS = _count(crls, _superseded)

# of one certificate
EVENTS_OF = select(_event.sequence).where(
    _event.ca == _p("of_ca"), _event.serial_number == _p("of_serial")
)
REVIEWS_OF = select(pending_requests.c.id).where(pending_requests.c.request_id == _p("request"))
DECISIONS_OF = select(decisions.c.id).where(decisions.c.request_id == _p("request"))
DECISION_OF = select(requests.c.decision_id).where(requests.c.id == _p("request"))

# what the audit log speaks about, row by row
FORGET_EVENT = delete(revocation_events).where(_event.sequence == _p("sequence"))
FORGET_CERTIFICATE = delete(certificates).where(
    _cert.ca == _p("of_ca"), _cert.serial_number == _p("of_serial")
)
FORGET_REQUEST = delete(requests).where(requests.c.id == _p("request"))
FORGET_REVIEW = delete(pending_requests).where(pending_requests.c.id == _p("review"))
FORGET_DECISION = delete(decisions).where(decisions.c.id == _p("decision"))
FORGET_CREDENTIAL = delete(credentials).where(credentials.c.id == _p("credential"))

# what it does not
FORGET_ENTRY = delete(revocation_entries).where(
    _entry.ca == _p("of_ca"), _entry.serial_number == _p("of_serial")
)
FORGET_ORDER = delete(orders).where(orders.c.request_id == _p("request"))
FORGET_PLANS = delete(supersessions).where(
    or_(
        supersessions.c.request_id == _p("request"),
        and_(supersessions.c.ca == _p("of_ca"), supersessions.c.serial_number == _p("of_serial")),
    )
)
FORGET_PLANS_OF = delete(supersessions).where(supersessions.c.request_id == _p("request"))
FORGET_APPRAISAL = delete(appraisals).where(appraisals.c.id == _p("decision"))
FORGET_LISTS = delete(crls).where(_superseded)
