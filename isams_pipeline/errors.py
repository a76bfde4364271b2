"""What can go wrong, as types that say what happened, where, and what to do about it.

No message holds a value from a school's data or a secret: it ends up in the event log, on a terminal and in
bug reports. `where` takes names, ids, dates, counts and row numbers only.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from typing import ClassVar


@cache
def _where_to_report() -> str:
    """Where faults of this project are reported: `urls.Issues` in pyproject.toml, as it was installed."""
    with suppress(PackageNotFoundError):
        for url in metadata("isams-pipeline").get_all("Project-URL") or ():
            name, _, address = url.partition(", ")
            if name == "Issues":
                return f" at {address}"
    return " (CONTRIBUTING.md says where)"


def with_where_to_report(remedy: str) -> str:
    """A remedy that asks for a report, with where that goes."""
    return remedy.replace(" as a bug", f" as a bug{_where_to_report()}")


class PipelineError(Exception):
    """Something that a data engineer can act on.

    `what` happened, `where` (school, key, feed, field, row …) and the `remedy`. `retryable` says whether the
    same call may succeed by itself in a few minutes.
    """

    retryable: ClassVar[bool] = False
    usual_remedy: ClassVar[str] = ""
    """What helps with most errors of the type, for docs/errors.md; each error says its own."""

    def __init__(self, what: str, *, remedy: str = "", **where: object) -> None:
        self.what = what
        self.remedy = remedy
        self.where = {name: value for name, value in where.items() if value is not None}
        super().__init__(str(self))

    def __str__(self) -> str:
        places = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.where.items())
        sentence = f"{self.what} ({places})" if places else self.what
        end = "" if sentence.endswith((".", "?", "!")) else "."
        return f"{sentence}{end} {with_where_to_report(self.remedy)}".strip()

    def at(self, **where: object) -> PipelineError:
        """Add places that the raiser did not know; what it did know stays."""
        self.where = {name: value for name, value in where.items() if value is not None} | self.where
        self.args = (str(self),)
        return self


# --- before anything runs ---------------------------------------------------------------------------------


class ConfigurationError(PipelineError):
    """schools.yaml does not say what it should."""

    usual_remedy = (
        "Mend schools.yaml at the path that the message names; `isams-pipeline doctor --offline` checks it again."
    )


class MissingSecret(ConfigurationError):
    """The environment variable that the configuration names is not set, or is empty."""

    usual_remedy = (
        "Set the variable for the process that runs nights (the daemon, a unit, cron), or the same name with `_FILE`."
    )


class WrongUse(PipelineError):
    """A command was asked for something that does not exist."""

    usual_remedy = "The message says what exists; `--help` lists the options."


class SeveralMeant(WrongUse):
    """A number, code or address means several people."""

    usual_remedy = "Name one of them as the message does, such as pupil:501."


class ImportRefused(PipelineError):
    """A file of the partner's that cannot be taken as it stands."""

    usual_remedy = "Have the partner send the file again, with the rows that the message names put right."


# --- asking iSAMS -----------------------------------------------------------------------------------------


class IsamsError(PipelineError):
    """iSAMS, or another source to its data, did not give what was asked for."""

    usual_remedy = "The message says what iSAMS would not do."

    said: str | None = None
    """iSAMS's own words, where it had some. They may quote a person's value, so they are never part of the text."""
    taken: bool = True
    """Whether iSAMS may have done what was asked. False where it surely has not."""


class TransientIsamsError(IsamsError):
    """iSAMS may well answer in a few minutes."""

    usual_remedy = "Nothing: it is tried again. If it stays, ask iSAMS support with the time of the request."

    retryable = True

    def __init__(self, what: str, *, remedy: str = "", retry_after: float | None = None, **where: object) -> None:
        super().__init__(what, remedy=remedy, **where)
        self.retry_after = retry_after


class ServerBusy(TransientIsamsError):
    """A deadlock or a lock time-out in iSAMS's database."""

    usual_remedy = "Nothing: it is tried again. If it comes every night, choose another hour than other integrations."


class ServerTimeout(TransientIsamsError):
    """iSAMS, or the wait for it, ran out of time; asking for fewer methods at once may help."""

    usual_remedy = "Nothing: the request is split and tried again. If it stays, give large feeds a key of their own."


class Throttled(TransientIsamsError):
    """The key has used up the requests that the school allows it."""

    usual_remedy = "Have the school raise the client's limit in iSAMS, or set `requests_per_hour` to what it is."


class Unavailable(TransientIsamsError):
    """The server, or the way to it, is down."""

    usual_remedy = (
        "Look at what the message tells apart: the name (DNS), the connection, the proxy; then `isams-pipeline doctor`."
    )


class TruncatedAnswer(TransientIsamsError):
    """The answer ended before its last element."""

    usual_remedy = "Nothing: it is tried again. If it stays, look for a proxy or firewall that cuts long answers."


class InvalidKey(IsamsError):
    """iSAMS does not know the key or the client."""

    usual_remedy = "Compare the variable with the key in iSAMS, and see that it is Active there."


class MethodsNotAllocated(IsamsError):
    """The key may not run some of the methods."""

    usual_remedy = "Have the school's administrator tick the methods that `isams-pipeline doctor` names."

    def __init__(self, what: str, *, methods: frozenset[str], remedy: str = "", **where: object) -> None:
        super().__init__(what, remedy=remedy, **where)
        self.methods = methods
        """Lower-cased, as iSAMS prints them."""


class RequestRefused(IsamsError):
    """iSAMS would not run the request as it stands."""

    usual_remedy = "Run `isams-pipeline doctor`; if it finds nothing, report it."


class AccessRefused(IsamsError):
    """Refused before iSAMS looked at the key: an IP, domain or TLS restriction, or a firewall."""

    usual_remedy = "Have this machine's address allowed at the key or client in iSAMS, and by firewalls on the way."


class NotPermitted(IsamsError):
    """The REST client lacks a permission."""

    usual_remedy = "Have the school's administrator give the REST client the permission that the message names."


class NotFound(IsamsError):
    """iSAMS has no such record."""

    usual_remedy = "The record is gone from iSAMS since it was read; the next night knows."


class NotAccepted(IsamsError):
    """iSAMS looked at what was sent, and would not have it."""

    usual_remedy = "Look at the field that the message names; the change has not been made."


class RowsMoved(TransientIsamsError):
    """Rows moved between the pages of a list while it was read, again and again."""

    usual_remedy = "Nothing: it is tried again. Choose an hour at which nobody works in iSAMS."


class UntrustedServer(IsamsError):
    """The TLS certificate does not prove that this is the school's server."""

    usual_remedy = "Check the address; a server of the school's own needs a certificate that this machine trusts."


class UnsafeAnswer(IsamsError):
    """An answer that would hurt: in another encoding than was asked for, or larger than it may be."""

    usual_remedy = "Look for a proxy or firewall on the way that changes answers."


# --- by the other sources -----------------------------------------------------------------------------------


class NotAuthorised(IsamsError):
    """The school has not authorised what would be asked for, or not any more."""

    usual_remedy = "Run `isams-pipeline connector status SCHOOL`: it says the next step and whose it is."


class WrongToken(IsamsError):
    """A token that is another school's. Nothing was stored."""

    usual_remedy = "Connect again, logged in at the right school: `isams-pipeline connector authorise SCHOOL`."


class SyncPending(TransientIsamsError):
    """The source is fetching the school's data from its MIS just now, or has done so a moment ago."""

    usual_remedy = "Nothing: it is tried again when the source has done."


class MembersMissing(IsamsError):
    """Groups came without the members that their own counts say they have."""

    usual_remedy = "Have the school give the app its groups' members; the message names the list."


class StaleSource(IsamsError):
    """The source's own copy of the school's data is too old, or its last fetch has failed."""

    usual_remedy = "Have the school look at the source's own fetch from its MIS."


class TokensUnreadable(IsamsError):
    """The kept tokens were sealed under another secret than the one that is set."""

    usual_remedy = "Put the former secret back, or connect the school again."


class ChangesForgotten(IsamsError):
    """The server no longer knows since when changes were asked for: everything has to be read anew."""

    usual_remedy = "Nothing: everything is read anew."


# --- reading what it gave ---------------------------------------------------------------------------------


class DocumentError(PipelineError):
    """A document that is not what a Batch answer should be."""

    usual_remedy = "Look into the answer: `isams-pipeline inspect FILE`."


class NotBatchData(DocumentError):
    """Not XML at all, or XML with another root."""

    usual_remedy = "Open the address in a browser: a log-in page or a notice of maintenance came instead of data."


class NotRestData(DocumentError):
    """Not the JSON that the REST API answers with."""

    usual_remedy = "Open the address in a browser: a log-in page or a notice of maintenance came instead of data."


class UnsafeDocument(DocumentError):
    """XML that a school's answer never needs: a DTD, entities, extreme depth or size."""

    usual_remedy = "Do not open the answer elsewhere; ask the school which server this is."


class DatasetError(PipelineError):
    """A dataset broke a blocking rule; what was stored before stays."""

    usual_remedy = "The message names dataset, column and rows; the night before stays delivered."


class MissingRows(DatasetError):
    """A dataset that must have rows has none."""

    usual_remedy = "See in iSAMS whether the rows are there, and whether the key has the method ticked."


class WrongType(DatasetError):
    """A field does not hold what its declaration says."""

    usual_remedy = (
        "Look at the rows that the message names: `isams-pipeline inspect FILE --xpath …`; mend them in iSAMS."
    )


class DuplicateKeys(DatasetError):
    """Several rows have the same key."""

    usual_remedy = "Mend in iSAMS the records that the message names by number."


class OtherSchool(DatasetError):
    """The answer describes the people of another school."""

    usual_remedy = "Two schools' keys may be mixed up: compare the variables."


class ScopesShrunk(DatasetError):
    """The school has taken back some of what it had authorised, so columns or tables would turn empty."""

    usual_remedy = "Have the school authorise again what it had, or accept the smaller scope as the message says."


# --- keeping it -------------------------------------------------------------------------------------------


class StorageError(PipelineError):
    """A disk, an object store or the state database did not take or give what it should."""

    usual_remedy = "The message names folder and file: look for room on the disk, permissions, and a backup."


class BackupUnreadable(StorageError):
    """A file of a backup is missing, damaged, or made for another key."""

    usual_remedy = (
        "Give the key that the backup was made for, or restore an earlier one: `isams-pipeline restore --at`."
    )


class TargetUnavailable(StorageError):
    """A place over the network cannot be reached, or has hung up."""

    usual_remedy = "Nothing: it is tried again. `isams-pipeline doctor` tries the target."

    retryable = True


class UntrustedTarget(StorageError):
    """A place over the network does not prove to be what it was, or is not known."""

    usual_remedy = "Ask who runs the server whether its key has changed, and only then accept the new one."


class NoSnapshot(PipelineError):
    """The archive has nothing for that date, and iSAMS only knows today."""

    usual_remedy = "Choose a night that was run: what was not read then cannot be had any more."


class FutureDate(PipelineError):
    """The date has not come yet at the school."""

    usual_remedy = "Run the night once its date has come at the school."


class NotMaterialised(PipelineError):
    """A table that is needed has not been made for that date."""

    usual_remedy = "Materialise the table for that night first, in the UI or by `isams-pipeline sync`."


class BackfillBroken(PipelineError):
    """Dagster could not carry out a backfill."""

    usual_remedy = "Look at the backfill in the UI and at the daemon's log, then launch it again."


class SchoolBusy(PipelineError):
    """Another run for the same school goes on."""

    usual_remedy = (
        "Wait until the other run has ended; one that was killed is ended by the next start of `isams-pipeline ui`."
    )


def place_of(error: BaseException) -> str:
    """Where an error was raised: file, line and function, which quote nobody."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno} in {frames[-1].name}"


class Unforeseen(PipelineError):
    """An error that this project does not know, by its type and place only: its text may quote data."""

    usual_remedy = "Report it with the place that the message names."

    def __init__(self, error: BaseException) -> None:
        what = f"An error that this project does not know: {type(error).__name__} at {place_of(error)}"
        super().__init__(what, remedy="Report this as a bug, with that place.")


# --- delivering it ----------------------------------------------------------------------------------------


class MailUnavailable(PipelineError):
    """The mail server cannot be reached, or will not talk."""

    usual_remedy = (
        "Nothing: mail stays in the outbox and is tried again. `isams-pipeline doctor` tries the mail server."
    )

    retryable = True


class LeaseLost(PipelineError):
    """Another run took over the delivery."""

    usual_remedy = "Nothing: the other run delivers."
