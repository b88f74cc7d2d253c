"""The audit log's turn in a server: it ends, whoever else works on the log and whatever comes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from est_server.app.audit import AuditKeeper, extend
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.audit import MOST_AT_ONCE, AuditState


class Log:
    """An `AuditLog` that gives these answers, and no more."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def extend(self, sign):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, None

    async def state(self):
        return AuditState(5, 0, None)


async def test_what_comes_meanwhile_is_left_to_the_next_turn():
    log = Log(MOST_AT_ONCE, MOST_AT_ONCE, 3, 2, 2)
    assert await extend(log, None) == 2 * MOST_AT_ONCE + 3
    assert log.answers == [2, 2]


async def test_nothing_waits():
    assert await extend(Log(0), None) == 0


async def test_another_process_was_faster():
    assert await extend(Log(Conflict("audit.sequenced", ""), 7), None) == 7


async def test_a_damaged_tree_is_told_and_stops_no_server():
    keeper = AuditKeeper(Log(BackendUnavailable("audit.tree", "")), None, timedelta(1), (), None)
    with pytest.raises(BackendUnavailable):
        await keeper.turn()
    keeper.audit.answers = [BackendUnavailable("audit.tree", "")]
    await keeper.stop()
