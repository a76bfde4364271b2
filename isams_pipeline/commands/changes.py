"""`changes`: My School Portal's change requests, from their review to what was written."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from isams_pipeline.clock import moment_in_words, today_at
from isams_pipeline.commands.common import DATA_DIR, Config, DataDir, School, console, say
from isams_pipeline.commands.headless import run_job
from isams_pipeline.commands.instance import open_instance
from isams_pipeline.commands.made_up import keep_apart
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.definitions import environment_from
from isams_pipeline.errors import WrongUse
from isams_pipeline.orchestration.environment import Environment
from isams_pipeline.orchestration.partitions import Night
from isams_pipeline.partners.my_school_portal.desk import REVIEWABLE, ChangeDesk, Looked
from isams_pipeline.partners.my_school_portal.intake import Taken, inbox_of, take_in
from isams_pipeline.partners.my_school_portal.ledger import COMMAND_LINE, Door
from isams_pipeline.partners.my_school_portal.schedules import CHANGES_JOB
from isams_pipeline.partners.my_school_portal.settings import MySchoolPortalSettings
from isams_pipeline.partners.my_school_portal.states import OPEN, WRITTEN, State
from isams_pipeline.rules.texts import label
from isams_pipeline.storage.folder import Folder
from isams_pipeline.storage.state.changes import ChangeRequest, ChangeStep

Request = Annotated[str, typer.Argument(help="A request's id.", show_default=False)]
Requests = Annotated[list[str] | None, typer.Argument(help="Requests' ids. [default: all]", show_default=False)]
By = Annotated[
    str | None,
    typer.Option("--by", help="Who decides; stands in the ledger. [default: you]", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfirmJoint = Annotated[
    bool, typer.Option("--confirm-joint", help="The e-mail address of both people of a joint contact is to change.")
]
COLOURS = {
    State.PENDING: "yellow",
    State.APPROVED: "cyan",
    State.APPLYING: "yellow",
    State.APPLIED: "green",
    State.CONFIRMED: "green",
    State.LOST: "red",
    State.CONFLICT: "red",
    State.FAILED: "red",
    State.REJECTED: "dim",
}
_LONGEST_VALUE = 1000


def list_(
    school: School,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only in this state; may be given often.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """List change requests: ids and field names, no values. New files in the inbox are taken in first."""
    environment, desk = _desk(school, config, data_dir)
    _take_in(environment, school, quiet=as_json)
    found = desk.store.listed([_state(name) for name in state] if state else None)
    if as_json:
        console.out(json.dumps([_as_json(request) for request in found], indent=2), highlight=False)
        return 0
    console.print(requests_table(found, environment, school) if found else "No change requests.")
    refused = desk.store.refusals()
    if refused:
        where = f"{inbox_of(environment, school)}/refused"
        console.print(
            f"{len(refused)} requests were refused when they came; their files and reasons: {where}", soft_wrap=True
        )
    return 0


def requests_table(requests: list[ChangeRequest], environment: Environment, school: str) -> Table:
    """Requests as a table: ids and field names, the state and its reason."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("request", "whose", "fields", "state", "since"):
        table.add_column(column, overflow="fold")
    zone = environment.settings.school(school).timezone
    for request in requests:
        state = Text(request.state, COLOURS[State(request.state)])
        if request.reason:
            state.append(f": {request.reason}", "dim")
        since = moment_in_words(request.changed_at, zone)[5:16]
        table.add_row(request.id, _whose(request), ", ".join(request.changes), state, since)
    return table


def show(
    school: School,
    request: Request,
    as_json: AsJson = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Show one request: its values as they came and as they will be written, and its audit trail. Personal data."""
    environment, desk = _desk(school, config, data_dir)
    _take_in(environment, school, quiet=as_json)
    ledger = desk.store.ledger(request)
    if ledger and all(step.step == "refused" for step in ledger):
        console.print(f"{request} was refused when it came: {ledger[-1].reason}", soft_wrap=True)
        return 1
    found = desk.store.find(request)
    if as_json:
        steps = [_step_as_json(step) for step in ledger]
        whole = _as_json(found) | {"given": found.given, "changes": found.changes, "seen": found.seen, "ledger": steps}
        console.out(json.dumps(whole, indent=2, ensure_ascii=False), highlight=False)
        return 0
    zone = environment.settings.school(school).timezone
    reason = f": {found.reason}" if found.reason else ""
    say((found.id, "bold"), f"  {_whose(found)}  ", _coloured(found.state), reason)
    if found.undo_of:
        console.print(f"  puts back what {found.undo_of} changed")
    if found.approved_by and found.approved_at:
        console.print(f"  approved by {found.approved_by}, {moment_in_words(found.approved_at, zone)}")
    if found.redacted_at is not None:
        say((f"  its values were taken out on {found.redacted_at:%Y-%m-%d} ({found.redacted_why})", "yellow"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("field", "as it came", "to be written", "as the approver saw it"):
        table.add_column(column, overflow="fold")
    for name, value in found.changes.items():
        tidied = Text("the same", "dim") if found.given.get(name) == value else _value(value)
        seen = _value(found.seen.get(name)) if found.seen is not None else Text("-", "dim")
        table.add_row(name, _value(found.given.get(name)), tidied, seen)
    console.print(table)
    console.print(audit_trail(found.id, ledger, environment, school))
    return 0


def audit_trail(request: str, ledger: list[ChangeStep], environment: Environment, school: str) -> Table:
    """The ledger's lines as a table: who did what when, about whom, and what iSAMS answered.

    No values, but for iSAMS's own words, which may quote one.
    """
    zone = environment.settings.school(school).timezone
    table = Table(title=f"Audit trail of {request}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("when", "who", "step", "about"):
        table.add_column(column, overflow="fold")
    for step in ledger:
        told = [", ".join(step.fields)]
        if step.persons:
            told.append(f"person {' and '.join(map(str, step.persons))}")
        if step.answer is not None:
            told.append("iSAMS said " + ", ".join(str(value) for value in step.answer.values() if value is not None))
        if step.reason:
            told.append(step.reason)
        who = f"run {step.who[4:12]}" if step.who.startswith("run ") else step.who
        about = Text("; ".join(filter(None, told)))
        table.add_row(moment_in_words(step.at, zone)[5:16], Text(who), step.step, about)
    return table


def approve(
    school: School,
    requests: Annotated[list[str], typer.Argument(help="Requests' ids.", show_default=False)],
    by: By = None,
    confirm_joint: ConfirmJoint = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Compare requests with iSAMS as it is now, and approve them. What you saw must still be there when written."""
    environment, desk = _desk(school, config, data_dir)
    _take_in(environment, school)
    found: list[ChangeRequest] = []
    for identifier in dict.fromkeys(requests):
        request = desk.store.find(identifier)
        if request.state in {state.value for state in REVIEWABLE}:
            found.append(request)
        else:
            who = f", by {request.approved_by}" if request.approved_by else ""
            console.print(f"{request.id} is {request.state} already{who}; nothing was changed.")
    if found and not yes and not console.is_terminal:
        raise WrongUse(
            "Approval must be confirmed, but there is no terminal to ask on",
            remedy="Review the requests with `isams-pipeline changes show`, then run again with --yes.",
        )
    code = 0
    for looked in desk.look(found):
        _print_looked(looked, approving=True)
        review, joint = looked.review, confirm_joint
        possible = review is not None and not review.problems
        if review is not None and possible and not yes:
            if review.joint_email and not joint:
                joint = Confirm.ask("The e-mail address of both guardians will change. Is that right?", console=console)
            possible = Confirm.ask("Approve?", console=console)
        try:
            if possible:
                desk.approve(looked, by or getpass.getuser(), joint=joint)
        except WrongUse as refusal:
            console.print(f"  {refusal}", style="red", soft_wrap=True)
            possible = False
        verdict = ("approved", "cyan") if possible else ("not approved", "red")
        say(verdict, f" {looked.request.id}")
        code = code if possible else 1
    return code


def reject(
    school: School,
    request: Request,
    reason: Annotated[str, typer.Option("--reason", help="Why. No personal data, please.", show_default=False)],
    by: By = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Say no to a request."""
    environment, desk = _desk(school, config, data_dir)
    _take_in(environment, school)
    desk.reject(request, by or getpass.getuser(), reason)
    say(("rejected", "dim"), f" {request}")
    return 0


def apply(
    school: School,
    requests: Requests = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change. Write nothing.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Write approved requests to iSAMS now. Without `writeback: enabled` in schools.yaml this is a dry run.

    A dry run prints personal data: what iSAMS has, and what it would have.
    """
    environment, desk = _desk(school, config, data_dir)
    _take_in(environment, school)
    environment.retries = 0  # a person is waiting; the client's own patience has to do
    chosen = desk.chosen(requests or [], OPEN)
    if not chosen:
        console.print("No approved request waits.")
        return 0
    if dry_run or not desk.writes:
        return _dry_run(desk, chosen, asked=dry_run)
    return _run(environment, desk, data_dir, chosen)


def undo(
    school: School,
    request: Request,
    by: By = None,
    confirm_joint: ConfirmJoint = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change back. Write nothing.")] = False,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Undo an applied request: write the old values back where iSAMS still holds the new ones.

    Fields that somebody has changed since stay, and are listed.
    """
    environment, desk = _desk(school, config, data_dir)
    environment.retries = 0
    looked, changed = desk.changed_since(request, joint=confirm_joint)
    if changed:
        console.print(f"Changed since, and left as they are: {', '.join(changed)}.", style="yellow", soft_wrap=True)
    if dry_run or not desk.writes:
        return _dry_run(desk, [looked.request], asked=dry_run)
    _print_looked(looked)
    joint = confirm_joint
    if looked.review is not None and looked.review.joint_email and not joint:
        if not console.is_terminal:
            raise WrongUse(
                "The change is to both people of a joint contact",
                remedy="If that is right, run again with --confirm-joint.",
            )
        joint = Confirm.ask("The e-mail address of both guardians will change back. Is that right?", console=console)
    made = desk.undo(request, by or getpass.getuser(), joint=joint, leaving=changed)
    if made.state in {state.value for state in WRITTEN}:
        console.print(f"{request} was undone already, by {made.id}; nothing was written.")
        return 0
    return _run(environment, desk, data_dir, [made])


def verify(
    school: School,
    head: Annotated[
        str | None, typer.Option("--head", help="A head that was noted earlier, such as in a run's metadata.")
    ] = None,
    config: Config = None,
    data_dir: DataDir = DATA_DIR,
) -> int:
    """Check that the ledger was not altered, and print its head: the hash over all its lines.

    Note the head somewhere else, or take it from a run's metadata in the UI: with --head it is proven that nothing
    that was there then is missing now. Exit code 1 where the ledger does not hold.
    """
    _, desk = _desk(school, config, data_dir)
    found = desk.store.verify(head)
    if found.broken_at is not None:
        say(
            ("The ledger was altered after it was written", "red"),
            f": line {found.broken_at} does not follow the one before.",
        )
    elif not found.has:
        say(
            ("The head that was given is not in the ledger", "red"),
            ": lines that were in the ledger when the head was noted are missing. Restore the database from a backup.",
        )
    else:
        say(("The ledger is as it was written", "green"), f": {found.lines} lines.")
    console.print(f"head {found.head or 'of an empty ledger'}")
    return 0 if found.holds else 1


# --- shared -------------------------------------------------------------------------------------------------


def _desk(school: str, config: Path | None, data_dir: Path) -> tuple[Environment, ChangeDesk]:
    environment = environment_from(config, data_dir)
    keep_apart(data_dir, environment.settings)
    environment.settings.partner(school, MySchoolPortalSettings)
    return environment, ChangeDesk(environment, school, Door.here(COMMAND_LINE))


def _take_in(environment: Environment, school: str, *, quiet: bool = False) -> None:
    for taken in take_in(environment, school):
        if not quiet:
            print_taken(taken, inbox_of(environment, school))


def print_taken(taken: Taken, inbox: Folder) -> None:
    """What became of a file of the inbox."""
    told: list[str] = [f"{taken.new} new"] if taken.new or not taken.problems else []
    told += [f"{taken.known} known"] if taken.known else []
    told += [f"{taken.approved} approved by the portal"] if taken.approved else []
    if taken.problems:
        told.append(f"{len(taken.problems)} refused, see {Path(inbox.url).name}/refused/")
    console.print(f"{label(taken.file)}: {', '.join(told)}", soft_wrap=True)
    for place, problems in list(taken.problems.items())[:10]:
        console.print(f"  {place}: {'; '.join(problems)}", soft_wrap=True)


def _dry_run(desk: ChangeDesk, chosen: list[ChangeRequest], *, asked: bool) -> int:
    looked = desk.look(chosen)
    for one in looked:
        _print_looked(one)
    why = "" if asked else " (writeback is not enabled in schools.yaml)"
    good = [one for one in looked if one.review is not None and one.review.may_be_written]
    told = f"{len(good)} would be written, {len(looked) - len(good)} would not"
    say(("Dry run", "yellow"), f": nothing was written{why}; {told}.")
    return 0 if len(good) == len(looked) else 1


def _print_looked(looked: Looked, *, approving: bool = False) -> None:
    request, review = looked.request, looked.review
    whose = f", {review.whose}" if review else ""
    say((request.id, "bold"), f"  {_whose(request)}{whose}")
    if review is None:
        console.print(f"  {looked.problem}", soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("field", "iSAMS has now", "would be"):
        table.add_column(column, overflow="fold")
    for difference in review.differences:
        table.add_row(
            difference.name,
            _value(difference.now),
            Text("the same", "dim") if difference.holds else _value(difference.wanted),
        )
    console.print(table)
    for warning in review.warnings:
        console.print(f"  {warning}", style="yellow", soft_wrap=True)
    for problem in review.problems:
        console.print(f"  {problem}", style="red", soft_wrap=True)
    if review.conflicts and approving:
        console.print(
            f"  {', '.join(review.conflicts)} changed since the request was last looked at: you approve the values "
            "shown here"
        )
    elif review.conflicts:
        say("  ", ("conflict", "red"), f": the approver saw something else in {', '.join(review.conflicts)}")


def _run(environment: Environment, desk: ChangeDesk, data_dir: Path, chosen: list[ChangeRequest]) -> int:
    today = today_at(environment.settings.school(desk.school).timezone, environment.clock)
    ids = [request.id for request in chosen]
    ops = {"my_school_portal__changes": {"config": {"requests": ids}}}
    with open_instance(data_dir) as instance, console.status(f"{desk.school}: {len(ids)} requests"):
        run = run_job(environment, instance, CHANGES_JOB, Night(desk.school, today), ops)
    good = True
    for identifier in ids:
        request = desk.store.find(identifier)
        good = good and request.state == State.APPLIED
        reason = f": {request.reason}" if request.reason else ""
        say(_coloured(request.state), f" {identifier}{reason}")
    for failure in run.failures:
        console.print(f"  {failure}", soft_wrap=True)
    return 0 if good and not run.failures else 1


def _state(name: str) -> State:
    try:
        return State(name)
    except ValueError:
        raise typer.BadParameter(f"there is no state {name!r}; known are {', '.join(State)}") from None


def _coloured(state: str) -> tuple[str, str]:
    return state, COLOURS[State(state)]


def _whose(request: ChangeRequest) -> str:
    return f"student {request.student}" if request.kind == "student" else f"contact {request.contact}"


def _value(value: Any) -> Text:
    """A value on one line; where what it holds cannot all be seen, that is said."""
    if value is None or value == "":
        return Text("empty", "dim")
    shown = label(value, _LONGEST_VALUE)
    text = Text(shown)
    return text if shown == str(value) else text.append(" (it also holds what cannot be seen)", "yellow")


def _as_json(request: ChangeRequest) -> Json:
    return {
        "id": request.id,
        "kind": request.kind,
        "student": request.student,
        "contact": request.contact,
        "person": request.person,
        "fields": list(request.changes),
        "state": request.state,
        "reason": request.reason,
        "approved_by": request.approved_by,
        "approved_at": request.approved_at.isoformat() if request.approved_at else None,
        "joint_confirmed": request.joint_confirmed,
        "undo_of": request.undo_of,
        "received_at": request.received_at.isoformat(),
        "changed_at": request.changed_at.isoformat(),
    }


def _step_as_json(step: ChangeStep) -> Json:
    names = ("who", "door", "step", "fields", "before", "after", "persons", "answer", "reason", "previous", "hash")
    return {"at": step.at.isoformat()} | {name: getattr(step, name) for name in names}
