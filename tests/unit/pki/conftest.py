"""What tests of X.509 rules share."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest


@pytest.fixture(scope="session")
def now():
    return datetime(2026, 11, 24, 12, tzinfo=UTC)
