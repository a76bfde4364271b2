"""How many REST requests a client may make in an hour, counted for all processes in the state database.

Kept here, and not by a rate-limiting library: those that count across processes want Redis, or a driver for Postgres
that dagster-postgres cannot use.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from isams_pipeline.clock import Clock
from isams_pipeline.errors import Throttled
from isams_pipeline.storage.state.database import StateDatabase
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
        with self._state.transaction() as session:
            session.execute(
                delete(RestSpending).where(RestSpending.client == self._client, RestSpending.minute <= minute - _HOUR)
            )
            query = select(RestSpending).where(RestSpending.client == self._client).order_by(RestSpending.minute)
            spent = list(session.scalars(query.with_for_update()))
            if sum(one.requests for one in spent) >= self._limit:
                raise Throttled(
                    f"The client has made its {self._limit} requests of this hour",
                    client=self._client,
                    remedy="It is asked again later; raise the client's limit in iSAMS, and requests_per_hour.",
                    retry_after=max(1.0, (spent[0].minute + _HOUR) * 60 - now),
                )
            if spent and spent[-1].minute == minute:
                spent[-1].requests += 1
            else:
                session.add(RestSpending(client=self._client, minute=minute, requests=1))
