"""Alembic's environment: `est_server.storage.schema` hands over an open connection."""

from __future__ import annotations

from alembic import context

from est_server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,  # SQLite can, and alembic does not count on it
    transaction_per_migration=False,  # all steps or none, and one process at a time
)
with context.begin_transaction():
    context.run_migrations()
