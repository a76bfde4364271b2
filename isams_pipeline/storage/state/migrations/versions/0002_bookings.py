"""The booking store."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"


def upgrade() -> None:
    op.create_table(
        "booking_school",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timetable", sa.String, nullable=True),
        sa.Column("timings", sa.String, nullable=True),
        sa.Column("held_back", sa.String, nullable=True),
        schema=SCHEMA,
    )
    op.create_table(
        "booking_category",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("hidden", sa.Boolean, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "booking_resource",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("code", sa.String, nullable=True),
        sa.Column("category", sa.String, nullable=False),
        sa.Column("made", sa.Boolean, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "room_match",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("room_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("how", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "booking_timeslot",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("made", sa.Boolean, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "timetable_entry",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("date", sa.Date, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("code", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("timeslot_id", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("staff_ids", sa.String, nullable=False),
        sa.UniqueConstraint(
            "school", "resource_id", "date", "start", "end", "code", "kind", name="uq_timetable_entry"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "booking",
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("resource_id", sa.String, nullable=False),
        sa.Column("date", sa.Date, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=True),
        sa.Column("cancelled_on", sa.Date, nullable=True),
        schema=SCHEMA,
    )
    op.create_index("ix_booking_open", "booking", ["school", "status", "date"], schema=SCHEMA)
    op.create_table(
        "notification",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("booking_id", sa.String, nullable=False),
        sa.Column("message_id", sa.String, nullable=False, unique=True),
        sa.Column("recipient", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.String, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )
    op.create_index("ix_notification_school_state", "notification", ["school", "state"], schema=SCHEMA)


def downgrade() -> None:
    for table in (
        "notification",
        "booking",
        "timetable_entry",
        "booking_timeslot",
        "room_match",
        "booking_resource",
        "booking_category",
        "booking_school",
    ):
        op.drop_table(table, schema=SCHEMA)
