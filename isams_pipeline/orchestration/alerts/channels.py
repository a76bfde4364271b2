"""Whom schools.yaml says is told, of what and when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from isams_pipeline.config import Settings
from isams_pipeline.config.alerts import AlertChannel, AlertKind
from isams_pipeline.orchestration.alerts.messages import OneNight

MAIL, WEBHOOK = "mail", "webhook"


@dataclass(frozen=True)
class Told:
    """A channel as schools.yaml has it, and about which school it is told; None: all."""

    channel: AlertChannel
    zone: ZoneInfo
    school: str | None

    def wants(self, one: OneNight) -> bool:
        """Whether it is told of a night; that one is well again only if it was told what was wrong."""
        wanted = self.channel.wants
        return self.school in {None, one.school} and one.kind in wanted and (one.was is None or one.was in wanted)


Channels = Mapping[str, Sequence[Told]]
"""Whom a message goes to (`mail ADDRESS`, `webhook VARIABLE`) → what is wanted there."""


def channels(settings: Settings) -> dict[str, list[Told]]:
    """All channels, each once."""
    found: dict[str, list[Told]] = {}
    own = [(one, settings.alerts.timezone, None) for one in settings.alerts.to]
    theirs = [(one, school.timezone, name) for name, school in settings.schools.items() for one in school.alerts]
    for channel, zone, school in [*own, *theirs]:
        names = [f"{MAIL} {address}" for address in channel.email]
        if channel.webhook is not None:
            names.append(f"{WEBHOOK} {channel.webhook}")
        for name in names:
            found.setdefault(name, []).append(Told(channel, zone, school))
    return found


def is_told_anybody(settings: Settings) -> bool:
    """Whether schools.yaml says that anybody is told."""
    return bool(channels(settings))


def wanted_at_all(to: Channels, kind: AlertKind) -> bool:
    """Whether any channel is told of a kind."""
    return any(kind in told.channel.wants for all_ in to.values() for told in all_)


def quiet_until(told: Told, now: datetime) -> datetime:
    """When a message may be sent: now, or at the end of the channel's quiet hours."""
    quiet, local = told.channel.quiet, now.astimezone(told.zone)
    if quiet is None or not quiet.has(local.hour * 60 + local.minute):
        return now
    end = local.replace(hour=quiet.end // 60, minute=quiet.end % 60, second=0, microsecond=0)
    # The same wall clock a day on, whatever the clocks do in between.
    return end if end > local else end + timedelta(days=1)
