"""What `doctor` says of places: servers that are asked, targets that are written to, mail servers."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from isams_pipeline.commands.machine import Found
from isams_pipeline.errors import IsamsError, PipelineError, StorageError
from isams_pipeline.orchestration.alerts.channels import WEBHOOK, channels
from isams_pipeline.orchestration.alerts.posting import NotNow, webhook_url
from isams_pipeline.orchestration.alerts.posting import mail_server as mail_server_of_alerts
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import mail_server
from isams_pipeline.partners.room_booking.settings import RoomBookingSettings
from isams_pipeline.sources.shared.http import Patience, open_http, typed_errors
from isams_pipeline.storage.folder import Folder

_HURRIED = Patience(connect=5, read=15, whole=30)
_MOST = 1 << 16
_FOLDERS = re.compile(r"(?!\w+://)|(file|sftp)://")
"""Targets that have folders: a path, or a URL of such."""


@dataclass
class Servers:
    """Looks at each server once, however many schools and keys are on it."""

    _found: dict[str, str | None] = field(default_factory=dict[str, "str | None"])

    def trouble(self, url: str) -> str | None:
        """Why a server cannot be asked; None where requests get there, whatever comes of this one.

        Some servers and firewalls do not like it: the keys' own questions say then what is wrong.
        """
        if url not in self._found:
            self._found[url] = self._look(url)
        return self._found[url]

    @staticmethod
    def _look(url: str) -> str | None:
        try:
            with typed_errors("The server", "its url"), open_http(url, _HURRIED, most=_MOST, headers={}) as client:
                client.head("/")
        except PipelineError as error:
            arrived = isinstance(error, IsamsError) and error.taken
            return None if arrived else str(error)
        return None


def targets(environment: Environment, schools: Iterable[str]) -> Iterator[Found]:
    """Whether each place that a partner's files go to is there, and lets files be written, renamed and removed.

    The files are ours, hidden, and gone afterwards.
    """
    for school in schools:
        for key, settings in environment.settings.school(school).partners.exporting.items():
            what = f"{school}, {key}"
            try:
                place = environment.target(settings, school)
                # An object store has no folders: nothing is there before the first file.
                if _FOLDERS.match(str(place)) and not place.exists(""):
                    yield Found(what, f"{place} is not there yet; the first delivery makes it. Is that the place?")
                    continue
                _try_out(place)
            except PipelineError as error:
                yield Found(what, str(error), is_fit=False)
            else:
                yield Found(what, f"{place} takes files: written, renamed and removed")


def _try_out(place: Folder) -> None:
    """Write a file under a name that partners do not look at, rename it, read it, remove it."""
    name = f".isams-pipeline-{uuid.uuid4().hex[:8]}"
    try:
        place.write(name, b"a test by isams-pipeline doctor\n")  # under another name first
        place.read(name)
    except FileNotFoundError:
        raise StorageError(
            "A file was gone as soon as it had been written",
            file=place.location(name),
            remedy="Something takes files away at once: have it wait for manifest.json, which is written last.",
        ) from None
    finally:
        with contextlib.suppress(StorageError):
            place.remove(name)


def mail(environment: Environment, schools: Iterable[str]) -> Iterator[Found]:
    """Whether each school's mail server can be reached and logged in to. Nothing is sent."""
    for school in schools:
        settings = environment.settings.school(school).partners.get(RoomBookingSettings)
        if settings is None:
            continue
        what = f"{school}, mail"
        try:
            server = mail_server(settings, environment.variables, school=school)
            if server is not None:
                server.greet()
                yield Found(what, "the mail server takes connections and the log-in")
        except PipelineError as error:
            yield Found(what, str(error), is_fit=False)


def alerts(environment: Environment, servers: Servers) -> Iterator[Found]:
    """Whether whoever is told can be: the mail server of alerts takes a log-in, webhooks' hosts are there."""
    settings = environment.settings.alerts
    if settings.smtp_url is not None:
        what = "the mail server takes connections" + (" and the log-in" if settings.smtp_user else "")
        try:
            mail_server_of_alerts(environment, settings).greet()
            yield Found("alerts, mail", what)
        except (NotNow, PipelineError) as error:
            yield Found("alerts, mail", str(error), is_fit=False)
    for found, url in webhooks(environment):
        if url is None:
            yield found
            continue
        parts = urlsplit(url)
        trouble = servers.trouble(f"{parts.scheme}://{parts.netloc}")
        said = "its server is there; `isams-pipeline alerts --test` sends a message" if trouble is None else trouble
        yield Found(found.what, said, trouble is None)


def webhooks(environment: Environment) -> Iterator[tuple[Found, str | None]]:
    """Each webhook and its address; None where what the variable holds is none. No server is asked."""
    for name in channels(environment.settings):
        kind, _, variable = name.partition(" ")
        if kind == WEBHOOK:
            try:
                yield Found(f"alerts, {variable}", "its variable holds an address"), webhook_url(environment, variable)
            except PipelineError as error:
                yield Found(f"alerts, {variable}", str(error), is_fit=False), None
