"""What a new certificate puts out of use, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from profiles_world import DAY, IN_TEN_DAYS, NOW, Question, issued, renewal

from est_server.ports.supersession import Supersession

HOUR = timedelta(hours=1)
OLD = issued()


def successor(number, **changes):
    made = {"serial_number": number, "replaces": OLD.serial_number, "not_after": IN_TEN_DAYS}
    return replace(OLD, **made | changes)


def planned(question):
    decision = question.ask()
    assert decision.verdict == "allow", decision.gates
    return [(one.serial_number, one.due_at - NOW) for one in decision.supersedes]


def rules(**changes):
    return {"reenroll": {"old": "supersede", **changes}}


def test_a_renewal_keeps_the_old_certificate_by_default():
    assert planned(renewal()) == []


def test_the_old_one_is_superseded_after_a_delay():
    assert planned(renewal(profile=rules())) == [(0x2A, DAY)]
    assert planned(renewal(profile=rules(after="1h"))) == [(0x2A, HOUR)]
    decision = renewal(OLD, profile=rules()).ask()
    assert decision.supersedes == (Supersession("issuing", 0x2A, NOW + DAY),)
    (gate,) = [gate for gate in decision.gates if gate.rule == "supersede"]
    assert gate.ok
    assert "2a" in gate.detail
    assert decision.replaces == OLD


def test_what_was_issued_and_never_used_goes_with_it():
    others = (successor(1), successor(2, replaces=3), successor(5, ca="issuing-g2"))
    question = renewal(profile=rules(after="1h"), others=others)
    assert planned(question) == [(0x2A, HOUR), (1, HOUR), (5, HOUR)]


def test_what_ends_before_is_left_to_end():
    soon = issued(expires=NOW.replace(microsecond=0) + HOUR)
    assert planned(renewal(soon, profile=rules(after="2h"))) == []


def test_a_refused_renewal_supersedes_nothing():
    used = successor(1, seen_at=NOW)
    decision = renewal(profile=rules(), others=(used,)).ask()
    assert (decision.rule, decision.supersedes, decision.replaces) == (
        "certificate.replaced",
        (),
        None,
    )


def test_an_enrollment_that_replaces_supersedes_all_others():
    others = (successor(1), successor(2, replaces=None))
    again = {"enroll": {"again": "replace"}}
    assert planned(Question(profile=again, others=others)) == [(1, timedelta(0)), (2, timedelta(0))]
    again = {"enroll": {"again": "replace", "after": "1h"}}
    assert planned(Question(profile=again, others=others)) == [(1, HOUR), (2, HOUR)]
    assert planned(Question(profile={"enroll": {"again": "allow"}}, others=others)) == []
