"""Windows in which more rows may be gone than usual."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_table(
        "removal_window",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("partner", sa.String, nullable=False),
        sa.Column("since", sa.Date, nullable=False),
        sa.Column("until", sa.Date, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.Column("closed_by", sa.String),
        sa.PrimaryKeyConstraint("id", name="pk_removal_window"),
        schema=SCHEMA,
    )
    op.create_index("ix_removal_window_school_partner", "removal_window", ["school", "partner"], schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("removal_window", schema=SCHEMA)
