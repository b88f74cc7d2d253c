"""The list of attacks, the tests that make them and the page about both agree."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from attacks import CODE, TABLE, attacked, attacks, table, unproven

VERIFIERS = entry_points(group="est_server.verifiers").names


def test_the_attacks_are_numbered_without_a_gap():
    assert [*attacks()] == list(range(1, 98))


def test_tags_name_attacks_that_exist():
    assert not attacked().keys() - attacks().keys()


def test_every_attack_is_made_or_has_a_reason_not_to_be():
    assert attacked().keys() | unproven().keys() == attacks().keys()
    assert not attacked().keys() & unproven().keys()


@pytest.mark.parametrize("number", attacked())
def test_an_attack_is_refused_with_its_code(number):
    """Some test of it names the code; a verifier returns its checks without its own name."""
    outcome = attacks()[number].outcome
    said = frozenset[str]().union(*(one.says for one in attacked()[number]))
    assert outcome
    if CODE.fullmatch(outcome):
        verifier, _, check = outcome.partition(".")
        assert outcome in said or (verifier in VERIFIERS and check in said)


def test_the_page_is_about_these_tests():
    assert TABLE.read_text() == table(), "python tests/attacks.py writes it"
