"""How many REST requests a client may make in an hour, counted for all processes in the state database.

Kept here, and not by a rate-limiting library: those that count across processes need Redis, or a driver for Postgres
that dagster-postgres cannot use.
"""

from __future__ import annotations

from sqlalchemy import delete, func, select, text

from isams_pipeline.clock import Clock
from isams_pipeline.errors import Throttled
from isams_pipeline.storage.state.database import StateDatabase, insert_into
from isams_pipeline.storage.state.models import RestSpending

_HOUR = 60
"""Minutes."""


class HourlyLimit:
    """A client's limit over the last sixty minutes."""

    def __init__(self, state: StateDatabase, client: str, limit: int, clock: Clock) -> None:
        self._state, self._client, self._limit, self._clock = state, client, limit, clock

    def spend(self) -> None:
        """Count one request; raises Throttled, with the seconds until there is room again, if they are used up."""
        now = self._clock().timestamp()
        minute = int(now // 60)
        mine = RestSpending.client == self._client
        with self._state.transaction() as session:
            if session.get_bind().dialect.name == "postgresql":  # SQLite's transactions are one at a time by themselves
                session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:client))"), {"client": self._client})
            session.execute(delete(RestSpending).where(mine, RestSpending.minute <= minute - _HOUR))
            oldest, spent = session.execute(
                select(func.min(RestSpending.minute), func.coalesce(func.sum(RestSpending.requests), 0)).where(mine)
            ).one()
            if spent >= self._limit:
                problem = Throttled(
                    f"The client has made its {self._limit} requests of this hour",
                    client=self._client,
                    remedy="Run it again later; to avoid this, raise the client's limit in iSAMS, and "
                    "requests_per_hour in schools.yaml.",
                    retry_after=max(1.0, (oldest + _HOUR) * 60 - now),
                )
                problem.taken = False
                raise problem
            statement = insert_into(session, RestSpending).values(client=self._client, minute=minute, requests=1)
            session.execute(
                statement.on_conflict_do_update(
                    index_elements=["client", "minute"], set_={"requests": RestSpending.requests + 1}
                )
            )
