"""What was asked about people."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_table(
        "person_request",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("whom", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("bundle", sa.String),
        sa.PrimaryKeyConstraint("id", name="pk_person_request"),
        schema=SCHEMA,
    )
    op.create_index("ix_person_request_school_at", "person_request", ["school", "at"], schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("person_request", schema=SCHEMA)
