"""Nights that need a person, and the messages about them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_table(
        "watched",
        sa.Column("school", sa.String, nullable=False),
        sa.Column("partner", sa.String, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("school", "partner", name="pk_watched"),
        schema=SCHEMA,
    )
    op.create_table(
        "problem",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("partner", sa.String, nullable=False),
        sa.Column("night", sa.Date, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("run_id", sa.String),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.Column("closed_by", sa.String),
        sa.Column("over_by", sa.String),
        sa.Column("over_told_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_problem"),
        schema=SCHEMA,
    )
    op.create_index("ix_problem_closed_at", "problem", ["closed_at"], schema=SCHEMA)
    op.create_index("ix_problem_school_partner_night", "problem", ["school", "partner", "night"], schema=SCHEMA)
    op.create_table(
        "alert_message",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alert_message"),
        schema=SCHEMA,
    )
    op.create_index("ix_alert_message_state", "alert_message", ["state"], schema=SCHEMA)


def downgrade() -> None:
    for table in ("alert_message", "problem", "watched"):
        op.drop_table(table, schema=SCHEMA)
