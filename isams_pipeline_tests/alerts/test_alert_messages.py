"""What a message says, and what schools.yaml may say of alerts. No server, no run."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from isams_pipeline.config.alerts import AlertChannel, AlertKind, AlertSettings, Span
from isams_pipeline.orchestration.alerts.channels import Told, quiet_until
from isams_pipeline.orchestration.alerts.messages import OneNight, by_cause, for_webhook, message

NIGHT = OneNight(
    problem=1,
    school="riverside",
    name="Riverside School",
    partner="schoolsbuddy",
    night=date(2026, 2, 10),
    kind=AlertKind.FAILED,
    was=None,
    reason="iSAMS cannot be reached: the server refused the connection (school riverside, key contacts). Check url.",
    counts={},
    run="https://ui.example.org/runs/1",
    command="isams-pipeline sync riverside --partner schoolsbuddy",
)


def other(number: int, **changed: Any) -> OneNight:
    school = f"school-{number}"
    reason = NIGHT.reason.replace("riverside", school).replace("key contacts", "keys staff, students")
    return replace(NIGHT, **{"problem": number, "school": school, "reason": reason, **changed})


def test_one_cause_is_one_message_whichever_school_and_key_met_it():
    nights = [NIGHT, *(other(number) for number in range(2, 12))]
    (group,) = by_cause(nights)
    made = message(group)
    assert "11 schools" in made.subject and "refused the connection" in made.subject
    assert all(one.school in made.body and one.command in made.body for one in nights)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": AlertKind.REFUSED},
        {"night": date(2026, 2, 11)},
        {"reason": "iSAMS cannot be reached: the name of the server is not known here (DNS)."},
    ],
)
def test_another_cause_kind_or_night_is_another_message(changed: dict[str, Any]):
    assert len(by_cause([NIGHT, other(2, **changed)])) == 2


def test_a_school_whose_name_is_a_word_of_the_reason_hides_no_other_word():
    one = replace(NIGHT, school="the", name="The School")
    assert one.cause.startswith("iSAMS cannot be reached: * server refused * connection")
    assert "there" in replace(one, reason="nobody is there").cause


def test_a_thousand_nights_are_a_short_message_that_says_how_many_more():
    body = message([other(number) for number in range(1000)]).body
    assert "960 more" in body and len(body) < 12_000


@given(st.text(min_size=1, max_size=2000))
def test_a_subject_is_one_short_line_whatever_the_reason(reason: str):
    made = message([replace(NIGHT, reason=reason)])
    assert len(made.subject) <= 110 and len(made.subject.splitlines()) == 1


def test_slack_gets_text_and_no_markup():
    made = message([replace(NIGHT, reason="a <b> & <!channel>")])
    sent = for_webhook(made.subject, made.body, made.facts, as_whose="slack", message_id="1")
    assert set(sent) == {"text"} and "&lt;!channel&gt;" in sent["text"] and "<!channel>" not in sent["text"]


def test_teams_gets_a_card_as_a_workflow_takes_it():
    made = message([NIGHT])
    sent = for_webhook(made.subject, made.body, made.facts, as_whose="teams", message_id="1")
    (attachment,) = sent["attachments"]
    assert sent["type"] == "message" and attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["content"]["type"] == "AdaptiveCard" and attachment["content"]["body"][0]["text"] == made.subject


# --- settings -------------------------------------------------------------------------------------------------

SERVER = {"smtp_url": "smtp://mail.example.org:587", "mail_from": "pipeline@example.org"}


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"to": [{"email": ["a@example.org"]}]}, "smtp_url"),
        ({"to": [{}]}, "either email or webhook"),
        (
            {"to": [{"email": ["a@example.org"], "webhook": "HOOK", "format": "json"}], **SERVER},
            "either email or webhook",
        ),
        ({"to": [{"webhook": "HOOK"}]}, "format is slack, teams or json"),
        ({"to": [{"webhook": "https://hooks.example.org/x", "format": "slack"}]}, "variable"),
        ({"to": [{"email": ["nobody"]}], **SERVER}, "not an e-mail address"),
        ({"to": [{"email": ["a@example.org"], "wants": []}], **SERVER}, "wants is empty"),
        ({"to": [{"email": ["a@example.org"], "quiet": "late"}], **SERVER}, "22:00-06:30"),
        ({"to": [{"email": ["a@example.org"], "quiet": "07:00-07:00"}], **SERVER}, "22:00-06:30"),
        ({"smtp_url": "smtp://mail.example.org", "mail_from": ""}, "needs mail_from"),
        ({"smtp_user": "x"}, "go together"),
        ({"ui": "dagster.example.org"}, "write https://"),
        ({"late_after_minutes": 0}, "greater than or equal to 10"),
    ],
)
def test_settings_that_nobody_can_mean(given_: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        AlertSettings.model_validate(given_)


@given(
    start=st.integers(0, 1439),
    length=st.integers(1, 1439),
    moment=st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(ZoneInfo("UTC"))),
)
def test_quiet_hours_end_when_they_say_and_no_later(start: int, length: int, moment: datetime):
    zone = ZoneInfo("Europe/London")
    quiet = Span(start=start, end=(start + length) % 1440)
    told = Told(AlertChannel(email=("a@example.org",), quiet=quiet), zone, None)
    until = quiet_until(told, moment)
    local, end = moment.astimezone(zone), until.astimezone(zone)
    if quiet.has(local.hour * 60 + local.minute):
        assert moment < until <= moment + timedelta(hours=25)
        assert not quiet.has(end.hour * 60 + end.minute) or end.utcoffset() != local.utcoffset()
    else:
        assert until == moment
