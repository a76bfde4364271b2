"""An index for the receipts of a date, over all schools."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_index("ix_delivery_date", "delivery", ["date"], schema=SCHEMA)


def downgrade() -> None:
    op.drop_index("ix_delivery_date", "delivery", schema=SCHEMA)
