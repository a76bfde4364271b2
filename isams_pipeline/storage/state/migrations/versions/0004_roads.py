"""Connections by the other roads, their history, and their tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_table(
        "road_connection",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=True),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("said", sa.String, nullable=False),
        sa.Column("invited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("chosen", sa.JSON, nullable=True),
        schema=SCHEMA,
    )
    op.create_table(
        "road_connection_step",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=True),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("said", sa.String, nullable=False),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_road_connection_step_school_source", "road_connection_step", ["school", "source"], schema=SCHEMA
    )
    op.create_table(
        "road_token",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("source", sa.String, primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )


def downgrade() -> None:
    for table in ("road_token", "road_connection_step", "road_connection"):
        op.drop_table(table, schema=SCHEMA)
