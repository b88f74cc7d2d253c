"""docs/rfc7030.md names cases that exist and that a test shows, and leaves none out."""

from __future__ import annotations

import re

from cases import WAITING, numbers, tagged, waiting
from est_process import REPOSITORY


def named() -> set[int]:
    """Return the numbers in the column `cases` of every table that has one."""
    found: set[int] = set()
    column = None
    for line in (REPOSITORY / "docs" / "rfc7030.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if "cases" in cells:
            column = cells.index("cases")
        elif not cells:
            column = None
        elif column is not None and re.fullmatch(r"[\d, -]+", cells[column]):
            for part in cells[column].split(","):
                begin, _, end = part.strip().partition("-")
                if begin:
                    found |= {*range(int(begin), int(end or begin) + 1)}
    return found


def test_every_clause_names_cases_that_a_test_shows():
    assert len(named()) > 100
    assert named() <= {*tagged()} & numbers()


def test_every_case_is_shown_or_waits_with_its_reason():
    assert {*tagged()} | {*waiting(WAITING)} == numbers()
    assert {*waiting(WAITING)} == {179, 180, 181, 182}
