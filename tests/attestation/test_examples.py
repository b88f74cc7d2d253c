"""The captured statements are what the page shows, and their verifiers believe them."""

from __future__ import annotations

import pytest
from attestation_examples import PAGE, examples, page

EXAMPLES = {one.title: one for one in examples()}


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_captured_statement_is_believed(title):
    one = EXAMPLES[title]
    found = one.verifier.verify(one.evidence, one.context)
    assert [check for check in found.checks if not check.passed] == []
    assert found.fresh
    assert one.verifier.nonce(one.evidence, one.context.settings) == one.context.nonce


def test_the_page_shows_them():
    assert PAGE.read_text() == page(), "python tests/attestation_examples.py writes it"
