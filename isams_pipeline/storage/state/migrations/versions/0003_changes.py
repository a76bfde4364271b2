"""Deliveries in parts, the REST clients' spending, change requests and their ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = "isams_pipeline"
WRITTEN_ONCE = "the ledger of change requests is written once"


def _named_schema() -> str | None:
    # SQLAlchemy leaves the schema out for SQLite by itself, but not where Alembic writes the statement.
    return SCHEMA if op.get_bind().dialect.name == "postgresql" else None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("part", sa.String, nullable=False, server_default=""), schema=_named_schema())
    # A lease lasts for seconds: nothing is lost.
    op.drop_table("lease", schema=SCHEMA)
    op.create_table(
        "lease",
        sa.Column("partner", sa.String, primary_key=True),
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("date", sa.Date, primary_key=True),
        sa.Column("part", sa.String, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "rest_spending",
        sa.Column("client", sa.String, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("requests", sa.Integer, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "change_request",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("student", sa.String, nullable=False),
        sa.Column("contact", sa.Integer, nullable=True),
        sa.Column("person", sa.Integer, nullable=True),
        sa.Column("given", sa.JSON, nullable=False),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.Column("seen", sa.JSON, nullable=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=True),
        sa.Column("approved_by", sa.String, nullable=True),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("joint_confirmed", sa.Boolean, nullable=False),
        sa.Column("undo_of", sa.String, nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("school", "id", name="uq_change_request"),
        schema=SCHEMA,
    )
    op.create_index("ix_change_request_state", "change_request", ["school", "state"], schema=SCHEMA)
    op.create_table(
        "change_ledger",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("school", sa.String, nullable=False),
        sa.Column("request", sa.String, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("fields", sa.JSON, nullable=False),
        sa.Column("before", sa.JSON, nullable=True),
        sa.Column("after", sa.JSON, nullable=True),
        sa.Column("persons", sa.JSON, nullable=False),
        sa.Column("answer", sa.JSON, nullable=True),
        sa.Column("reason", sa.String, nullable=True),
        schema=SCHEMA,
    )
    op.create_index("ix_change_ledger_school_request", "change_ledger", ["school", "request"], schema=SCHEMA)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE FUNCTION {SCHEMA}.change_ledger_is_written_once() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{WRITTEN_ONCE}'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER change_ledger_written_once BEFORE UPDATE OR DELETE ON {SCHEMA}.change_ledger "
            f"FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.change_ledger_is_written_once()"
        )
        op.execute(
            f"CREATE TRIGGER change_ledger_not_emptied BEFORE TRUNCATE ON {SCHEMA}.change_ledger "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {SCHEMA}.change_ledger_is_written_once()"
        )
    else:
        for what in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER change_ledger_no_{what.lower()} BEFORE {what} ON change_ledger "
                f"BEGIN SELECT RAISE(ABORT, '{WRITTEN_ONCE}'); END"
            )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"DROP TRIGGER change_ledger_written_once ON {SCHEMA}.change_ledger")
        op.execute(f"DROP TRIGGER change_ledger_not_emptied ON {SCHEMA}.change_ledger")
        op.execute(f"DROP FUNCTION {SCHEMA}.change_ledger_is_written_once()")
    for table in ("change_ledger", "change_request", "rest_spending"):
        op.drop_table(table, schema=SCHEMA)
    op.drop_column("delivery", "part", schema=_named_schema())
    op.drop_table("lease", schema=SCHEMA)
    op.create_table(
        "lease",
        sa.Column("partner", sa.String, primary_key=True),
        sa.Column("school", sa.String, primary_key=True),
        sa.Column("date", sa.Date, primary_key=True),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        schema=SCHEMA,
    )
