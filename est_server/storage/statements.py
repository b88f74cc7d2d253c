"""The ledger's statements, written once with SQLAlchemy Core.

An adapter compiles them for its driver when it is made and runs the text on the driver's own
connection: building a statement for each call would cost more than running it.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    and_,
    bindparam,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    text,
    tuple_,
    update,
)

from est_server.storage.tables import (
    certificates,
    credentials,
    decisions,
    devices,
    nodes,
    profile_texts,
    requests,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import ColumnElement, Executable
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as its driver takes it.

    Attributes:
        text: SQL with positional parameters.
        names: the parameters in their order.
    """

    text: str
    names: tuple[str, ...]

    def picker(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """Return what takes this statement's parameters out of a mapping, in order."""
        if len(self.names) > 1:
            return itemgetter(*self.names)
        return lambda values: tuple(values[name] for name in self.names)


def compiled(statement: Executable, dialect: Dialect) -> Compiled:
    """Compile a statement for a dialect with positional parameters.

    Raises:
        ValueError: the statement holds a value of its own, which the text alone would lose.
    """
    found: SQLCompiler = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # every statement here is a clause
    held = [name for name, value in found.params.items() if value is not None]
    if held:
        raise ValueError(f"values in the statement: {held}")
    return Compiled(str(found), tuple(found.positiontup or ()))


_p = bindparam
# constants stand in the text: every value that is left is a named parameter
_RESERVED: ColumnElement[str] = literal_column("'reserved'")
_ISSUED: ColumnElement[str] = literal_column("'issued'")
_GOOD: ColumnElement[str] = literal_column("'good'")
_ACTIVE: ColumnElement[str] = literal_column("'active'")
_ONE: ColumnElement[int] = literal_column("1")
_NONE: ColumnElement[int] = literal_column("0")

# -- one enrollment --------------------------------------------------------------------------------
ADD_DEVICE = insert(devices)
ADD_DECISION = insert(decisions)
ADD_REQUEST = insert(requests)
ADD_CERTIFICATE = insert(certificates)
RELEASE_OLD_KEY = (
    update(requests)
    .where(requests.c.idempotency_key == _p("key"), requests.c.created_at < _p("window_start"))
    .values(idempotency_key=null())
)
SPEND = (
    update(credentials)
    .where(
        credentials.c.id == _p("credential"),
        credentials.c.revoked_at.is_(None),
        or_(
            credentials.c.uses_allowed.is_(None),
            credentials.c.uses < credentials.c.uses_allowed,
        ),
    )
    .values(uses=credentials.c.uses + _ONE)
)
GIVE_BACK = (
    update(credentials)
    .where(
        credentials.c.id
        == select(requests.c.credential_id).where(requests.c.id == _p("request")).scalar_subquery(),
        credentials.c.uses > _NONE,
    )
    .values(uses=credentials.c.uses - _ONE)
)
MOVE = (
    update(requests)
    .where(requests.c.id == _p("request"), requests.c.state == _RESERVED)
    .values(state=_p("to"), updated_at=_p("at"), reason=_p("why"))
)
FREE_KEY = update(requests).where(requests.c.id == _p("request")).values(idempotency_key=null())
ISSUED = (
    select(certificates)
    .join(requests, certificates.c.request_id == requests.c.id)
    .where(
        requests.c.idempotency_key == _p("key"),
        requests.c.state == _ISSUED,
        requests.c.created_at >= _p("since"),
    )
)
_VALID = (
    select(func.count())
    .select_from(certificates)
    .where(
        certificates.c.identity == _p("identity"),
        certificates.c.profile == _p("profile"),
        certificates.c.status == _GOOD,
        certificates.c.not_after > _p("at"),
    )
)
_UNDER_WAY = (
    select(func.count())
    .select_from(requests)
    .where(
        requests.c.identity == _p("identity"),
        requests.c.profile == _p("profile"),
        text("state IN ('reserved', 'waiting', 'parked')"),  # in the partial index's words
    )
)
# certificates that an identity has and those that are under way, as of one moment
HELD = select(_VALID.scalar_subquery() + _UNDER_WAY.scalar_subquery())
REQUEST_BY_KEY = select(requests).where(requests.c.idempotency_key == _p("key"))
REQUEST = select(requests).where(requests.c.id == _p("request"))
UNSETTLED = select(requests).where(requests.c.state == _RESERVED).order_by(requests.c.created_at)
ABANDONED = UNSETTLED.where(
    requests.c.created_at < _p("alive_since"),
    ~exists().where(nodes.c.node == requests.c.node, nodes.c.seen_at >= _p("alive_since")),
)

# -- certificates ----------------------------------------------------------------------------------
CERTIFICATE = select(certificates).where(
    certificates.c.ca == _p("ca"), certificates.c.serial_number == _p("serial_number")
)
SEEN = (
    update(certificates)
    .where(
        certificates.c.ca == _p("of_ca"),
        certificates.c.serial_number == _p("of_serial_number"),
        certificates.c.seen_at.is_(None),
    )
    .values(seen_at=_p("at"))
)
CERTIFICATE_FILTERS = {
    "serial_number": certificates.c.serial_number == _p("serial_number"),
    "device_id": certificates.c.device_id == _p("device_id"),
    "identity": certificates.c.identity == _p("identity"),
    "subject": certificates.c.subject == _p("subject"),
    "profile": certificates.c.profile == _p("profile"),
    "status": certificates.c.status == _p("status"),
    "not_good": certificates.c.status != _GOOD,  # lets the partial index be used
    "expires_before": certificates.c.not_after < _p("expires_before"),
    "after": tuple_(certificates.c.issued_at, certificates.c.serial_number)
    < tuple_(_p("after_time"), _p("after_serial")),
}
CERTIFICATES = (
    select(certificates)
    .order_by(certificates.c.issued_at.desc(), certificates.c.serial_number.desc())
    .limit(_p("most"))
    .offset(_NONE)
)

# -- devices ---------------------------------------------------------------------------------------
DEVICE = select(devices).where(devices.c.id == _p("device"))
DEVICE_FILTERS = {
    "profile": devices.c.profile == _p("profile"),
    "state": devices.c.state == _p("state"),
    "not_active": devices.c.state != _ACTIVE,  # lets the partial index be used
    "after": devices.c.id > _p("after"),
}
DEVICES = select(devices).order_by(devices.c.id).limit(_p("most")).offset(_NONE)
SET_DEVICE_STATE = (
    update(devices)
    .where(devices.c.id == _p("device"), devices.c.state == _p("from_"))
    .values(state=_p("to"), updated_at=_p("at"))
)

# -- credentials -----------------------------------------------------------------------------------
ADD_CREDENTIAL = insert(credentials)
CREDENTIAL = select(credentials).where(
    credentials.c.username == _p("user"), credentials.c.revoked_at.is_(None)
)
CREDENTIAL_FILTERS = {
    "profile": credentials.c.profile == _p("profile"),
    "after": tuple_(credentials.c.username, credentials.c.id)
    > select(credentials.c.username, credentials.c.id)
    .where(credentials.c.id == _p("after"))
    .scalar_subquery(),
}
CREDENTIALS = (
    select(credentials)
    .order_by(credentials.c.username, credentials.c.id)
    .limit(_p("most"))
    .offset(_NONE)
)
REVOKE_CREDENTIAL = (
    update(credentials)
    .where(and_(credentials.c.username == _p("user"), credentials.c.revoked_at.is_(None)))
    .values(revoked_at=_p("at"))
)

# -- decisions and configuration -------------------------------------------------------------------
DECISION_FILTERS = {
    "decision_id": decisions.c.id == _p("decision_id"),
    "request_id": decisions.c.request_id == _p("request_id"),
    "device_id": decisions.c.device_id == _p("device_id"),
    "identity": decisions.c.identity == _p("identity"),
}
DECISIONS = select(decisions).order_by(decisions.c.id.desc()).limit(_p("most")).offset(_NONE)
PROFILE_TEXT = select(profile_texts.c.name, profile_texts.c.text).where(
    profile_texts.c.digest == _p("digest_")
)
ADD_PROFILE_TEXT = insert(profile_texts)
ADD_NODE = insert(nodes)
FORGET_NODE = nodes.delete().where(nodes.c.node == _p("which"))
NODES = select(nodes).order_by(nodes.c.started_at)

# -- the store itself ------------------------------------------------------------------------------
TOUCH = text("UPDATE alembic_version SET version_num = version_num")  # a real write, of nothing new
