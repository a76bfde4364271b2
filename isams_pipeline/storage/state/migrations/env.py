"""Run by Alembic, with a connection that is already in a transaction."""

from alembic import context
from sqlalchemy import text

from isams_pipeline.storage.state.models import SCHEMA, Base

connection = context.config.attributes["connection"]
on_postgres = connection.dialect.name == "postgresql"
if on_postgres:
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table_schema=SCHEMA if on_postgres else None,
    include_schemas=on_postgres,
)
context.run_migrations()
