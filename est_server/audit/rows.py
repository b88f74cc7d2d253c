"""Which tables the log speaks about, and which of their columns.

*Fixed* columns never change once a row is written; a leaf has their hash, in this order. The order
is part of the log's format: columns are added at the end of a list, and no other change is made.
*State* columns change with acts that have leaves; a leaf has what they held. *Facts* are fixed
columns that a leaf has in words too. Every other column is not spoken about: counters, times of
last use, keys that are given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from est_server.audit.leaf import LeafRow, Value, digest_and_marks, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

ELSEWHERE = ""
"""The table of a row that is in none: the leaf alone says what was done."""


class Row(Protocol):
    """A row by the names of its columns: a database's, or the values that wrote it."""

    def __getitem__(self, column: str, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Watched:
    """What the log says about one table's rows.

    Attributes:
        key: the primary key.
        fixed: what never changes.
        state: what changes with acts.
        facts: of `fixed`, what a leaf has in words.
        written_at: when the act that wrote the row happened.
    """

    key: tuple[str, ...]
    fixed: tuple[str, ...]
    written_at: str
    state: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every column that is spoken about, once."""
        return tuple(dict.fromkeys((*self.key, *self.fixed, *self.state, self.written_at)))


# the first of these that a leaf has is what it is found by
WATCHED: Mapping[str, Watched] = MappingProxyType(
    {
        "decisions": Watched(
            key=("id",),
            fixed=(
                "id", "request_id", "at", "operation", "label", "profile", "profile_digest",
                "identity", "device_id", "verdict", "rule", "message", "trace", "csr", "ca",
                "serial_number",
            ),
            facts=("verdict", "rule", "operation", "profile", "identity", "device_id"),
            written_at="at",
        ),
        "pending_requests": Watched(
            key=("id",),
            fixed=(
                "id", "match_key", "content", "operation", "label", "profile", "identity",
                "device_id", "spki_sha256", "csr", "decision_id", "created_at",
            ),
            state=(
                "state", "decided_by", "decided_at", "note", "profile_digest", "request_id",
                "expires_at",
            ),
            written_at="created_at",
        ),
        "requests": Watched(
            key=("id",),
            fixed=(
                "id", "operation", "label", "profile", "identity", "device_id", "credential_id",
                "decision_id", "ca", "serial_number", "spki_sha256", "csr", "plan", "created_at",
            ),
            state=("state", "reason"),
            written_at="created_at",
        ),
        "revocation_events": Watched(
            key=("sequence",),
            fixed=(
                "sequence", "ca", "serial_number", "action", "reason", "revoked_at",
                "invalidity_date", "at", "actor", "note",
            ),
            facts=(
                "ca", "serial_number", "action", "reason", "revoked_at", "invalidity_date", "at",
                "actor", "note",
            ),
            written_at="at",
        ),
        "certificates": Watched(
            key=("serial_number", "ca"),
            fixed=(
                "ca", "serial_number", "der", "spki_sha256", "subject", "profile", "identity",
                "device_id", "request_id", "not_before", "not_after", "issued_at", "replaces",
                "crl_shard",
            ),
            state=("status", "revoked_at", "revocation_reason", "invalidity_date"),
            facts=("der",),
            written_at="issued_at",
        ),
        "devices": Watched(
            key=("id",),
            fixed=("id", "profile", "attributes", "created_at"),
            state=("state",),
            facts=("profile",),
            written_at="created_at",
        ),
        "credentials": Watched(
            key=("id",),
            fixed=(
                "id", "username", "verifier", "profile", "device_id", "uses_allowed", "created_at",
                "expires_at",
            ),
            state=("revoked_at",),
            facts=("username", "profile", "device_id", "uses_allowed", "expires_at"),
            written_at="created_at",
        ),
        "device_keys": Watched(
            key=("device_id", "key_id"),
            fixed=("device_id", "key_id", "sealed", "created_at"),
            written_at="created_at",
        ),
        "rollovers": Watched(
            key=("ca", "generation"),
            fixed=("ca", "generation", "predecessor", "successor", "content", "prepared_at"),
            state=("state", "tls", "published_at", "switched_at", "ended_at"),
            facts=("predecessor", "successor"),
            written_at="prepared_at",
        ),
        "profile_texts": Watched(
            key=("digest",),
            fixed=("digest", "name", "text", "first_seen"),
            facts=("name",),
            written_at="first_seen",
        ),
    }
)  # fmt: skip
_FIXED = {name: itemgetter(*watched.fixed) for name, watched in WATCHED.items()}
_PLAIN = {name: (*watched.state, *watched.facts) for name, watched in WATCHED.items()}
ORDER = MappingProxyType({name: place for place, name in enumerate((*WATCHED, ELSEWHERE))})


def key_text(value: Any) -> str:
    """Return one part of a key as leaves have it."""
    return value.hex() if isinstance(value, bytes) else str(value)


def key_of(table: str, row: Row) -> tuple[str, ...]:
    """Return the key of a row as leaves have it."""
    return tuple([key_text(row[name]) for name in WATCHED[table].key])


def written(table: str, row: Row) -> LeafRow:
    """Return what a leaf says of a row that its act wrote."""
    digest, marks = digest_and_marks(_FIXED[table](row))
    return LeafRow(table, key_of(table, row), digest, marks, plain_of(table, row))


def changed(table: str, row: Row) -> LeafRow:
    """Return what a leaf says of a row that its act found and changed."""
    return LeafRow(table, key_of(table, row), plain=plain_of(table, row))


def plain_of(table: str, row: Row) -> dict[str, Value]:
    """Return state and facts of a row in words, without what is not there."""
    return {name: value_of(value) for name in _PLAIN[table] if (value := row[name]) is not None}


def subject_of(row: LeafRow) -> str:
    """Return what the leaves about a row are found by, where it is the first of its leaf."""
    return f"{row.table}:{'/'.join(row.key)}"


def act_of(rows: tuple[LeafRow, ...]) -> str:
    """Return what an act is called, from what came of it."""
    by_table = {row.table: row for row in reversed(rows)}
    for table, name in _ACTS.items():
        if (row := by_table.get(table)) is None:
            continue
        if row.removed:
            return f"{name}-removed"
        state = row.plain.get(_STATES.get(table, ""))
        if table == "certificates" and row.digest is not None:
            return "presumed" if state == "presumed" else "issued"
        if table == "credentials":
            state = "revoked" if "revoked_at" in row.plain else None
        if table == "devices" and row.digest is not None:
            state = None
        return f"{name}-{'added' if state is None else state}"
    return rows[0].key[0]


# what an act is named for, if there is more than one: the first of these
_ACTS = {
    "revocation_events": "certificate",
    "certificates": "certificate",
    "pending_requests": "review",
    "requests": "request",
    "decisions": "decision",
    "rollovers": "rollover",
    "credentials": "credential",
    "devices": "device",
    "device_keys": "device-key",
    "profile_texts": "profile",
}
_STATES = {
    "revocation_events": "action",
    "certificates": "status",
    "pending_requests": "state",
    "requests": "state",
    "decisions": "verdict",
    "rollovers": "state",
    "devices": "state",
}
