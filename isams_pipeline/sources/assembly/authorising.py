"""A school's yes at Assembly: in a browser, and a code comes of it."""

from __future__ import annotations

from isams_pipeline.errors import WrongUse
from isams_pipeline.sources.assembly.connect import connect
from isams_pipeline.sources.shared.access import Access
from isams_pipeline.sources.shared.authorising import SCHOOL, Advice, Authorising
from isams_pipeline.sources.shared.connections import Finding


def _uninvited(_school: str) -> Advice:
    return Advice(
        "The school has sent no invitation that lets Assembly read its data in Xporter on Demand.",
        "Sign up at Assembly, choose iSAMS (via Xporter on Demand), and press Grant Access on the Connector page",
        SCHOOL,
    )


def _invite(access: Access) -> str | None:
    raise WrongUse(
        "Only the school can invite Assembly",
        school=access.school,
        remedy="Ask the school to press Grant Access on the Connector page of platform.assembly.education, then run "
        f"`isams-pipeline connector test {access.school} --source assembly`.",
    )


def _take_code(access: Access, code: str) -> Finding:
    with connect(access) as client:
        return client.take_code(code)


def _forget(access: Access) -> None:
    with connect(access) as client:
        client.forget()


def _fetch(access: Access) -> None:
    with connect(access) as client:
        client.sync()


AUTHORISING = Authorising(uninvited=_uninvited, invite=_invite, forget=_forget, take_code=_take_code, fetch=_fetch)
