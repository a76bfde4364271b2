"""Who was erased and is not to come back."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_table(
        "erased_person",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("entity", sa.String, nullable=False),
        sa.Column("whom", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("hashes", sa.JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("disclosures", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_erased_person"),
        schema=SCHEMA,
    )
    op.create_index("ix_erased_person_school", "erased_person", ["school"], schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("erased_person", schema=SCHEMA)
