"""What a connection's state means, what is to be done next, and by whom: in the words of the vendors' guide. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isams_pipeline.sources.registry import LISTED, label_of
from isams_pipeline.sources.shared.authorising import NOBODY, SCHOOL, YOU, Advice
from isams_pipeline.sources.shared.connections import Connection, Reason, State


@dataclass(frozen=True)
class Step:
    """One step of the way, as the guide's page ticks it off."""

    name: str
    done: bool
    note: str = ""


def advice(school: str, source: str, connection: Connection | None, partners: Sequence[str]) -> Advice:
    """What to tell of a connection; None is one that nobody has looked at yet. `partners` use the source."""
    if connection is None:
        return Advice("Nobody has looked yet.", f"isams-pipeline connector test {school} --source {source}", YOU)
    in_a_browser = LISTED[source].authorising.in_a_browser
    match connection.state, connection.reason:
        case State.AWAITING_INVITATION, _:
            return LISTED[source].authorising.uninvited(school)
        case State.AWAITING_CONNECTION, Reason.PAUSED:
            return Advice(
                "The school has paused its authorisation while it chooses whom to include. Nothing can be read.",
                "End the pause in the Groupcall School Portal",
                SCHOOL,
            )
        case State.AWAITING_CONNECTION, Reason.NOT_INSTALLED:
            return Advice(
                "The school has authorised the data flow, but the Xporter on Demand connector is not installed.",
                "Install the Xporter on Demand connector; Groupcall's mail has the steps (support@groupcall.com helps)",
                SCHOOL,
            )
        case State.AWAITING_CONNECTION, Reason.ONBOARDING:
            return Advice(
                "Authorised and in the onboarding queue: the first jobs have not run yet.",
                f"Wait for Groupcall; then isams-pipeline connector test {school} --source {source}",
                "Groupcall",
            )
        case State.AWAITING_CONNECTION, _:
            return Advice(
                f"{label_of(source)} has no access to the school's data yet.",
                "Begin Authorisation, in the mail from Groupcall; it takes less than a minute",
                SCHOOL,
            )
        case State.CONNECTED, _:
            return Advice(
                "The connection works. No data of a person is extracted before an app is authorised.",
                f"isams-pipeline connector authorise {school} --source {source}",
                f"{YOU}, and somebody of the school says yes in a browser" if in_a_browser else YOU,
            )
        case State.AUTHORISED, _:
            means = "The app may read what was authorised, and nothing else."
            if not partners:
                return Advice(means, f"Give a partner the source {source} in schools.yaml: none uses it", YOU)
            return Advice(means, f"isams-pipeline sync {school} --partner {partners[0]}", NOBODY)


def steps(source: str, connection: Connection | None) -> list[Step]:
    """The way to the data, ticked off."""
    state = connection.state if connection else State.AWAITING_INVITATION
    reason = connection.reason if connection else None
    connected = state.rank >= State.CONNECTED.rank
    behind = {Reason.NOT_INSTALLED, Reason.ONBOARDING, Reason.PAUSED}
    waiting = reason.replace("_", " ") if reason and not connected else ""
    return [
        Step("Invited", state is not State.AWAITING_INVITATION),
        Step("Data flow authorised", connected or reason in behind, waiting if reason not in behind else ""),
        Step("Connector installed, first jobs have run", connected, waiting if reason in behind else ""),
        Step(
            f"App authorised{'' if LISTED[source].authorising.in_a_browser else ' here'}",
            state is State.AUTHORISED,
            f"{len(connection.scopes)} scopes" if connection and state is State.AUTHORISED else "",
        ),
    ]
