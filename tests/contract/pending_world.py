"""Requests that wait, all alike but for what a test is about."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta

from ledger_world import NOW, any_key, reservation

from est_server.ports.pending import Claim, PendingRequest

DAY = timedelta(days=1)


def waiting(**fields):
    """Return a record that waits, and the decision that it does."""
    at = fields.get("created_at", NOW)
    name = f"r_{int(at.timestamp()):012d}{secrets.token_hex(6)}"
    record = {
        "id": name, "state": "waiting", "match_key": b"m" * 32, "content": b"c" * 32,
        "operation": "simpleenroll", "label": None, "profile": "p", "identity": "SN-1",
        "device_id": "SN-1", "spki_sha256": b"s" * 32, "csr": b"csr",
        "decision_id": f"d_{name}", "created_at": at, "updated_at": at, "expires_at": at + DAY,
    } | fields  # fmt: skip
    decision = replace(
        reservation().decision, id=record["decision_id"], request_id=name, verdict="pending", at=at
    )
    return PendingRequest(**record), decision


async def wait(ledger, *, most=100, **fields):
    """Add a record that waits and return it."""
    record, decision = waiting(**fields)
    await ledger.pending.add(record, decision, most=most)
    return record


async def review(ledger, record, event="approve", *, at=NOW, note="", by="os:alice", digest="d"):
    return await ledger.pending.review(
        record.id, event, by=by, note=note, profile_digest=digest, at=at
    )


async def approved(ledger, **fields):
    """Add a record, approve it and return it."""
    return await review(ledger, await wait(ledger, **fields))


def claiming(record, key=None, *, approval=True, content=None, **fields):
    """Return a reservation that answers `record`."""
    claim = Claim(record.match_key, content or record.content, record.id if approval else None)
    return replace(reservation(key or any_key(), **fields), claim=claim)


async def state(ledger, record):
    return (await ledger.pending.get(record.id)).state
