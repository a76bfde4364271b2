"""The office's weekly mail: counts and a link, or the workbook where the school has said that its mail may carry it.

Each address gets a week's mail once. Before it is handed over that is noted, so that one of which nobody knows whether
it arrived is not sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from email.message import EmailMessage
from email.utils import format_datetime

from isams_pipeline.config.reports import ReportSettings
from isams_pipeline.errors import MailUnavailable
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.mail import ON_THE_WIRE, Refused, mail_server
from isams_pipeline.orchestration.office.report import PAGE, WORKBOOK, OfficeReport
from isams_pipeline.rules.texts import label

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SENT, _SENDING = "sent", "sending"
MAILED = "mailed.json"


def mail(environment: Environment, report: OfficeReport, today: date) -> list[str]:
    """Send the week's mail where it is its day, or a later one of the week; gives what is to be said of it.

    What could not be handed over is tried again with the next night of the week.
    """
    settings = environment.settings.school(report.night.school).reports
    if settings is None or not settings.mail_to or report.night.date != today:
        return []
    if today.weekday() < _DAYS.index(settings.mail_on):
        return []
    week = "{}-W{:02d}".format(*today.isocalendar()[:2])
    noted = _noted(environment, report.night.school, week)
    wanted = [address for address in settings.mail_to if _name(address) not in noted]
    said = [f"{count} mails may have arrived, and are not sent again" for count in [_doubtful(noted)] if count]
    if not wanted:
        return said
    alerts = environment.settings.alerts
    server = mail_server(alerts, environment.variables, tries=2)
    if server is None:
        return [*said, "schools.yaml names no mail server (alerts.smtp_url)"]
    with server:
        for address in wanted:
            try:
                server.envelope(alerts.mail_from, address)
            except Refused as refused:
                said.append(f"the mail server said {refused.code} to an address")
                continue
            except MailUnavailable as error:
                said.append(str(error))
                break
            _note(environment, report.night.school, week, noted | {_name(address): _SENDING})
            noted[_name(address)] = _SENDING
            try:
                server.text(_message(environment, report, settings, address, week))
            except Refused as refused:
                noted.pop(_name(address))
                said.append(f"the mail server said {refused.code} to the mail")
            except MailUnavailable as error:
                said.append(f"{error}; it may have arrived, and is not sent again")
                break
            else:
                noted[_name(address)] = _SENT
            _note(environment, report.night.school, week, noted)
    return said


def _doubtful(noted: dict[str, str]) -> int:
    return sum(state == _SENDING for state in noted.values())


def _name(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def _noted(environment: Environment, school: str, week: str) -> dict[str, str]:
    try:
        found = environment.reports.read_json(f"{school}/{MAILED}")
    except FileNotFoundError:
        return {}
    return dict(found["to"]) if found.get("week") == week else {}


def _note(environment: Environment, school: str, week: str, to: dict[str, str]) -> None:
    environment.reports.write_json(f"{school}/{MAILED}", {"week": week, "to": to})


def _message(
    environment: Environment, report: OfficeReport, settings: ReportSettings, address: str, week: str
) -> bytes:
    found, sender = report.found, environment.settings.alerts.mail_from
    name = environment.settings.school(report.night.school).name
    message = EmailMessage()
    domain = sender.rpartition("@")[2]
    message["Message-ID"] = f"<office-{report.night.school}-{week}-{_name(address)}@{domain}>"
    message["Date"] = format_datetime(environment.clock())
    message["From"], message["To"] = sender, address
    message["Subject"] = label(f"{name}: {found.records} records to mend in iSAMS")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_lines(report, settings)) + "\n")
    if settings.attach:
        data = environment.reports.read(f"{report.folder}/{WORKBOOK}")
        subtype = "vnd.openxmlformats-officedocument.spreadsheetml.sheet"
        message.add_attachment(
            data, maintype="application", subtype=subtype, filename=f"to-mend-{report.night.date}.xlsx"
        )
    return message.as_bytes(policy=ON_THE_WIRE)


def _lines(report: OfficeReport, settings: ReportSettings) -> Sequence[str]:
    found = report.found
    since = f", {found.new} of them new since {report.before}" if report.before is not None else ""
    lines = [f"In iSAMS there are {found.records} records to mend{since}.", ""]
    lines += [f"- {task.what}" for task in found.tasks] or ["Nothing is to be mended. Thank you!"]
    where = f"{settings.link.rstrip('/')}/{report.night.date}/{PAGE}" if settings.link else None
    lines += ["", f"Which ones, and where in iSAMS: {where}"] if where else []
    if settings.attach:
        lines += ["", "The workbook with this mail has all of them, to sort and to tick off."]
    return lines
