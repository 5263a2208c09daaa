"""Alembic's entry: runs on the connection that `store/migration.py` hands over."""

from alembic import context

from ultramarine.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
