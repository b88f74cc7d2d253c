"""The drill commands."""

from __future__ import annotations

from est_server.cli.db_restore import drills as app

__all__ = ["app"]
