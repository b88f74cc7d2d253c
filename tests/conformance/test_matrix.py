"""Every case is tested, or waits for a reason that docs/rfc7030.md gives."""

from __future__ import annotations

from cases import MISSING, OTHER_WORK, WAITING, numbers, sections, tagged, waiting


def test_the_cases_are_numbered_without_a_gap():
    listed = [number for section in sections() for number in section.cases]
    assert listed == list(range(1, 183))


def test_every_case_is_tested_or_waits():
    known = {*tagged(), *waiting(WAITING), *waiting(MISSING)}
    assert not numbers() - known, "neither tested nor listed in docs/rfc7030.md"


def test_only_other_work_is_waited_for():
    assert not waiting(WAITING).keys() - OTHER_WORK


def test_what_is_tested_does_not_wait():
    assert not tagged().keys() & waiting(WAITING).keys()


def test_tags_name_cases_that_exist():
    assert not tagged().keys() - numbers()
