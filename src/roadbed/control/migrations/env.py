"""Alembic's entry: migrates over the connection it is handed, inside the caller's transaction."""

from alembic import context

from roadbed.control.store.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
