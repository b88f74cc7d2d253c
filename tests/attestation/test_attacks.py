"""The list of attacks and the tests agree."""

from __future__ import annotations

from attacks import attacked, attacks, unproven


def test_the_attacks_are_numbered_without_a_gap():
    assert [*attacks()] == list(range(1, 98))


def test_tags_name_attacks_that_exist():
    assert not attacked().keys() - attacks().keys()


def test_what_is_tested_is_not_unproven():
    assert not attacked().keys() & unproven().keys()
