"""A school's yes at Xporter: in the Groupcall School Portal; which of the scopes are used is chosen here."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from isams_pipeline.errors import PipelineError, WrongUse
from isams_pipeline.sources.shared import XPORTER
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.authorising import YOU, Advice, Authorising
from isams_pipeline.sources.xporter.connect import connect
from isams_pipeline.sources.xporter.settings import XporterSettings


def _uninvited(school: str) -> Advice:
    return Advice(
        "The school has not been invited to share its data by Xporter on Demand.",
        f"isams-pipeline connector invite {school} --source {XPORTER}",
        YOU,
    )


def _invite(access: Access) -> str | None:
    settings = access.settings.need(XporterSettings)
    if settings.invite_to is None:
        raise WrongUse(
            "xporter.invite_to is not set, so nobody can be invited",
            school=access.school,
            remedy=f"Write schools.{access.school}.xporter.invite_to into schools.yaml.",
        )
    with connect(access, to_manage=True) as client:
        client.invite(access.settings.name)
    return settings.secret


def _offered(access: Access) -> Mapping[str, str]:
    words: Mapping[str, str] = {}
    with connect(access) as client:
        offered = client.details()
        with contextlib.suppress(PipelineError):  # words are for a person only
            words = client.scopes_in_words()
    return {scope: words.get(scope, "") for scope in offered}


def _forget(access: Access) -> None:
    with connect(access) as client:
        client.forget()


AUTHORISING = Authorising(
    uninvited=_uninvited,
    invite=_invite,
    forget=_forget,
    remains="Xporter itself keeps sharing until the school ends that in the Groupcall School Portal.",
    offered=_offered,
)
