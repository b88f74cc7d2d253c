"""What every ledger promises about appraisals (est_server.ports.appraisals)."""

from __future__ import annotations

from datetime import timedelta

from ledger_world import NOW

from est_server.ports.appraisals import Appraisal

FIRST = Appraisal("a_1", "SN-1", "router", NOW, "affirming", {"boot": "affirming"}, ("p", "0" * 64))
SECOND = Appraisal(
    "a_2", "SN-1", "router", NOW + timedelta(seconds=1), "none", {"boot": "none"}, ("p", "1" * 64),
    ("boot: affirming to none",), b"\x30\x00", NOW + timedelta(days=1),
)  # fmt: skip


async def test_the_newest_under_a_profile_is_found(ledger, open_again):
    assert await ledger.appraisals.latest("SN-1", "router") is None
    await ledger.appraisals.add(FIRST)
    await ledger.appraisals.add(SECOND)
    other = open_again()
    assert await other.appraisals.latest("SN-1", "router") == SECOND
    assert await other.appraisals.latest("SN-1", "switch") is None
    assert await other.appraisals.latest("SN-2", "router") is None
    assert await other.appraisals.of("SN-1") == [SECOND, FIRST]
    assert await other.appraisals.of("SN-1", limit=1) == [SECOND]
    assert await other.appraisals.of("SN-2") == []
    await other.close()


async def test_evidence_is_forgotten_in_time_and_the_result_is_not(ledger):
    await ledger.appraisals.add(FIRST)
    await ledger.appraisals.add(SECOND)
    until = SECOND.evidence_until
    assert await ledger.appraisals.forget_evidence(until - timedelta(microseconds=1)) == 0
    assert await ledger.appraisals.forget_evidence(until) == 1
    assert await ledger.appraisals.forget_evidence(until) == 0
    (found, _) = await ledger.appraisals.of("SN-1")
    assert (found.evidence, found.evidence_until) == (None, None)
    assert (found.status, found.worse) == (SECOND.status, SECOND.worse)
