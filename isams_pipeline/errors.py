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


class MissingSecret(ConfigurationError):
    """The environment variable that the configuration names is not set, or is empty."""


class WrongUse(PipelineError):
    """A command was asked for something that does not exist."""


class ImportRefused(PipelineError):
    """A file of the partner's that cannot be taken as it stands."""


# --- asking iSAMS -----------------------------------------------------------------------------------------


class IsamsError(PipelineError):
    """iSAMS, or another source to its data, did not give what was asked for."""

    said: str | None = None
    """iSAMS's own words, where it had some. They may quote a person's value, so they are never part of the text."""
    taken: bool = True
    """Whether iSAMS may have done what was asked. False where it surely has not."""


class TransientIsamsError(IsamsError):
    """iSAMS may well answer in a few minutes."""

    retryable = True

    def __init__(self, what: str, *, remedy: str = "", retry_after: float | None = None, **where: object) -> None:
        super().__init__(what, remedy=remedy, **where)
        self.retry_after = retry_after


class ServerBusy(TransientIsamsError):
    """A deadlock or a lock time-out in iSAMS's database."""


class ServerTimeout(TransientIsamsError):
    """iSAMS, or the wait for it, ran out of time; asking for fewer methods at once may help."""


class Throttled(TransientIsamsError):
    """The key has used up the requests that the school allows it."""


class Unavailable(TransientIsamsError):
    """The server, or the way to it, is down."""


class TruncatedAnswer(TransientIsamsError):
    """The answer ended before its last element."""


class InvalidKey(IsamsError):
    """iSAMS does not know the key or the client."""


class MethodsNotAllocated(IsamsError):
    """The key may not run some of the methods."""

    def __init__(self, what: str, *, methods: frozenset[str], remedy: str = "", **where: object) -> None:
        super().__init__(what, remedy=remedy, **where)
        self.methods = methods
        """Lower-cased, as iSAMS prints them."""


class RequestRefused(IsamsError):
    """iSAMS would not run the request as it stands."""


class AccessRefused(IsamsError):
    """Refused before iSAMS looked at the key: an IP, domain or TLS restriction, or a firewall."""


class NotPermitted(IsamsError):
    """The REST client lacks a permission."""


class NotFound(IsamsError):
    """iSAMS has no such record."""


class NotAccepted(IsamsError):
    """iSAMS looked at what was sent, and would not have it."""


class RowsMoved(TransientIsamsError):
    """Rows moved between the pages of a list while it was read, again and again."""


class UntrustedServer(IsamsError):
    """The TLS certificate does not prove that this is the school's server."""


class UnsafeAnswer(IsamsError):
    """An answer that would hurt: in another encoding than was asked for, or larger than it may be."""


# --- by the other sources -----------------------------------------------------------------------------------


class NotAuthorised(IsamsError):
    """The school has not authorised what would be asked for, or not any more."""


class WrongToken(IsamsError):
    """A token that is another school's. Nothing was stored."""


class SyncPending(TransientIsamsError):
    """The source is fetching the school's data from its MIS just now, or has done so a moment ago."""


class MembersMissing(IsamsError):
    """Groups came without the members that their own counts say they have."""


class StaleSource(IsamsError):
    """The source's own copy of the school's data is too old, or its last fetch has failed."""


class TokensUnreadable(IsamsError):
    """The kept tokens were sealed under another secret than the one that is set."""


class ChangesForgotten(IsamsError):
    """The server no longer knows since when changes were asked for: everything has to be read anew."""


# --- reading what it gave ---------------------------------------------------------------------------------


class DocumentError(PipelineError):
    """A document that is not what a Batch answer should be."""


class NotBatchData(DocumentError):
    """Not XML at all, or XML with another root."""


class NotRestData(DocumentError):
    """Not the JSON that the REST API answers with."""


class UnsafeDocument(DocumentError):
    """XML that a school's answer never needs: a DTD, entities, extreme depth or size."""


class DatasetError(PipelineError):
    """A dataset broke a blocking rule; what was stored before stays."""


class MissingRows(DatasetError):
    """A dataset that must have rows has none."""


class WrongType(DatasetError):
    """A field does not hold what its declaration says."""


class DuplicateKeys(DatasetError):
    """Several rows have the same key."""


class OtherSchool(DatasetError):
    """The answer describes the people of another school."""


class ScopesShrunk(DatasetError):
    """The school has taken back some of what it had authorised, so columns or tables would turn empty."""


# --- keeping it -------------------------------------------------------------------------------------------


class StorageError(PipelineError):
    """A disk, an object store or the state database did not take or give what it should."""


class TargetUnavailable(StorageError):
    """A place over the network cannot be reached, or has hung up."""

    retryable = True


class UntrustedTarget(StorageError):
    """A place over the network does not prove to be what it was, or is not known."""


class NoSnapshot(PipelineError):
    """The archive has nothing for that date, and iSAMS only knows today."""


class FutureDate(PipelineError):
    """The date has not come yet at the school."""


class NotMaterialised(PipelineError):
    """A table that is needed has not been made for that date."""


class BackfillBroken(PipelineError):
    """Dagster could not carry out a backfill."""


class SchoolBusy(PipelineError):
    """Another run for the same school goes on."""


def place_of(error: BaseException) -> str:
    """Where an error was raised: file, line and function, which quote nobody."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno} in {frames[-1].name}"


class Unforeseen(PipelineError):
    """An error that this project does not know, by its type and place only: its text may quote data."""

    def __init__(self, error: BaseException) -> None:
        what = f"An error that this project does not know: {type(error).__name__} at {place_of(error)}"
        super().__init__(what, remedy="Report this as a bug, with that place.")


# --- delivering it ----------------------------------------------------------------------------------------


class MailUnavailable(PipelineError):
    """The mail server cannot be reached, or will not talk."""

    retryable = True


class LeaseLost(PipelineError):
    """Another run took over the delivery."""
