"""The sensor that goes a round every minute; there is none where schools.yaml says that nobody is told."""

from collections.abc import Iterable, Iterator

import dagster as dg

from isams_pipeline.config import Settings
from isams_pipeline.orchestration.alerts.channels import is_told_anybody
from isams_pipeline.orchestration.alerts.looking import Expected
from isams_pipeline.orchestration.alerts.rounds import go_round
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partner import AnyPartner
from isams_pipeline.orchestration.runs import told_to_ticks

SENSOR = "alerts"


def hours_of(partners: Iterable[AnyPartner]) -> Expected:
    """When partners that get files should have them."""
    known = list(partners)
    nights = {partner.key: partner.hour for partner in known if partner.gets is not None}
    return Expected(nights, [partner.sessions for partner in known])


def alert_definitions(settings: Settings, partners: Iterable[AnyPartner]) -> dg.Definitions:
    """The sensor, where anybody is told."""
    if not is_told_anybody(settings):
        return dg.Definitions()
    return dg.Definitions(sensors=[_sensor(hours_of(partners))])


def _sensor(hours: Expected) -> dg.SensorDefinition:
    @dg.sensor(  # pyright: ignore[reportUnknownMemberType]
        name=SENSOR,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells whom schools.yaml names (`alerts`) which nights need a person, and what is well again. One "
        "message for one cause and date; no person's data in any.",
    )
    @told_to_ticks
    def alerts(
        context: dg.SensorEvaluationContext, environment: dg.ResourceParam[Environment]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        done = go_round(environment, context.instance, hours)
        for problem in done.posted.problems:
            context.log.warning("%s", problem)
        said = f"{done.waiting} nights need a person; {done.written} messages written, {done.posted.sent} sent"
        yield dg.SkipReason("; ".join([said, *done.posted.problems]))

    return alerts
