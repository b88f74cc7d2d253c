"""A ledger in which everything that the audit log speaks about has happened once or twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_world import NOW, WINDOW, add_credential, any_key, certificate, issue, reservation

from est_server.audit.checkpoint import FIRST, Checkpoint, note_hash, signed_note
from est_server.audit.leaf import decode_leaf
from est_server.audit.verify import verify
from est_server.ports.device_keys import DeviceKey
from est_server.ports.ledger import DecisionRecord, Device
from est_server.ports.pending import Claim, PendingRequest
from est_server.ports.revocation import Release, Revocation
from est_server.ports.rollover import Rollover
from est_server.storage.audit_memory import temporary_memory

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = (KEY.public_key(),)
ORIGIN = "test.example/audit"
SECOND = timedelta(seconds=1)


def signer(key=KEY, at=NOW):
    """Return what signs checkpoints."""

    def sign(size, root, before):
        previous = FIRST if before is None else note_hash(before)
        checkpoint = Checkpoint(ORIGIN, size, root, at.replace(microsecond=0), previous)
        return signed_note(checkpoint, key.public_key(), key.sign)

    return sign


async def extend(ledger, key=KEY):
    """Give all leaves their places; return the checkpoints."""
    found = []
    while (placed := await ledger.audit.extend(signer(key)))[0]:
        found.append(placed[1])
    return found


async def leaves(ledger):
    """Return every leaf in the order in which they were written."""

    def look(reader):
        return [
            decode_leaf(data)
            for data in [
                *(data for _, data in reader.leaves(0, 100_000)),
                *(data for _, data in reader.waiting(-1, 100_000)),
            ]
        ]

    return await ledger.audit.at_one_moment(look)


async def check(ledger, keys=KEYS, anchors=None):
    """Return the report of a whole check."""

    def look(reader):
        with temporary_memory() as memory:
            return verify(reader, memory, keys, anchors or {}, lambda *_: None)

    return await ledger.audit.at_one_moment(look)


def denial(number):
    return DecisionRecord(
        id=f"d_denied{number}", request_id=None, at=NOW + number * SECOND,
        operation="simpleenroll", label=None, profile="p", profile_digest="0" * 64,
        identity=None, device_id=None, verdict="deny", rule="csr.signature", message="no",
        trace="{}", csr=b"csr",
    )  # fmt: skip


def question(number=1):
    decision = replace(
        denial(0), id=f"d_asked{number}", request_id=f"r_asked{number}", verdict="pending",
        identity="SN-9", device_id="SN-9",
    )  # fmt: skip
    record = PendingRequest(
        id=f"r_asked{number}", state="waiting", match_key=bytes([number]) * 32,
        content=b"c" * 32, operation="simpleenroll", label=None, profile="p", identity="SN-9",
        device_id="SN-9", spki_sha256=b"s" * 32, csr=b"csr", decision_id=decision.id,
        created_at=NOW, updated_at=NOW, expires_at=NOW + timedelta(days=7),
        profile_digest="0" * 64,
    )  # fmt: skip
    return record, decision


def a_rollover():
    return Rollover(
        ca="ca", generation=2, state="prepared", predecessor="ca", successor="ca-g2",
        settings={"backend": "soft"}, new_root=b"n", old_with_new=b"o", new_with_old=b"w",
        prepared_at=NOW,
    )  # fmt: skip


async def fill(ledger):
    """Do everything that has a leaf; return the certificates' numbers."""
    await ledger.add_devices([Device("SN-1", "p", NOW), Device("SN-2", "p", NOW)])
    await add_credential(ledger, 2, device_id="SN-1")
    await add_credential(ledger, 1, id="c_2", username="other")
    await ledger.revoke_credential("other", at=NOW)
    await ledger.remember_profiles({"0" * 64: ("p", "version: 1\n")}, at=NOW)
    made = [
        reservation(any_key(), credential="c_1", at=NOW + number * SECOND) for number in range(2)
    ]
    made.append(reservation(any_key(), device="SN-7", register=Device("SN-7", "p", NOW)))
    made += [reservation(any_key(), device=f"SN-{number}") for number in range(20, 24)]
    for number, one in enumerate(made):
        await issue(
            ledger, one, der=f"der {number}".encode(), spki_sha256=bytes([number]) * 32,
        )  # fmt: skip
    await ledger.record_decision(denial(1))
    await ledger.record_decision(denial(2))
    # a CA elsewhere: issued, refused, nobody can tell, presumed
    two_steps = reservation(any_key(), device="SN-2")
    await ledger.reserve(two_steps, window_start=WINDOW)
    await ledger.record(two_steps.request.id, certificate(two_steps, spki_sha256=b"2" * 32))
    for state in ("rejected", "parked"):
        one = reservation(any_key(), device="SN-2")
        await ledger.reserve(one, window_start=WINDOW)
        await ledger.settle(one.request.id, state, reason="the CA said so", at=NOW)
    one = reservation(any_key(), device="SN-2")
    await ledger.reserve(one, window_start=WINDOW)
    presumed = certificate(one, "presumed", der=None, spki_sha256=b"3" * 32)
    await ledger.presume(one.request.id, presumed)
    # a person is asked, and says yes, and no
    for number, said in ((1, "approve"), (2, "deny")):
        await ledger.pending.add(*question(number), most=10)
        await ledger.pending.review(
            f"r_asked{number}", said, by="alice@pki", note="", profile_digest="0" * 64, at=NOW
        )
    record, _ = question(1)
    claim = Claim(record.match_key, record.content, record.id)
    answered = replace(reservation(any_key(), device="SN-9"), claim=claim)
    await issue(ledger, answered, spki_sha256=b"4" * 32)
    # revoked, held, held and released
    serials = [one.request.serial_number for one in made]
    revoked = Revocation(
        "ca", serials[0], "keyCompromise", NOW, "alice@pki", NOW - timedelta(days=1), "stolen"
    )
    held = [Revocation("ca", serials[n], "certificateHold", NOW, "alice@pki") for n in (1, 2)]
    await ledger.revocations.revoke([revoked, *held])
    await ledger.revocations.release([Release("ca", serials[2], NOW, "bob@pki")])
    await ledger.set_device_state("SN-2", "quarantined", expected=["active"], at=NOW)
    for name in (b"\x01", b"\x02"):
        await ledger.device_keys.add(DeviceKey("SN-1", name, b"sealed", NOW))
    await ledger.device_keys.remove("SN-1", b"\x02")
    rollover = a_rollover()
    await ledger.rollovers.add(rollover)
    await ledger.rollovers.move(rollover, "published", at=NOW)
    return serials
