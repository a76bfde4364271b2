"""Receipts and leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("partner", sa.String, nullable=False),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("date", sa.Date, nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("content_hash", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removals_allowed", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String, nullable=True),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("ix_delivery_partner_school_date", "delivery", ["partner", "school", "date"], schema=SCHEMA)
    op.create_table(
        "lease",
        sa.Column("partner", sa.String, primary_key=True),
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("date", sa.Date, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("lease", schema=SCHEMA)
    op.drop_table("delivery", schema=SCHEMA)
