from __future__ import annotations

import pytest
from config_world import World, world


@pytest.fixture
def folder(tmp_path) -> World:
    """Return a configuration without a problem."""
    return world(tmp_path)
