"""What an error of iSAMS means: by its document first, by the HTTP status where there is none.

Source: the official samples of the seven error documents, and what public clients found worth retrying.
Unknown to all of them: how throttling looks. So 429 is throttling, and so is any status whose document says so.
"""

from __future__ import annotations

from isams_pipeline.config.feeds import KNOWN_METHODS
from isams_pipeline.errors import (
    AccessRefused,
    InvalidKey,
    IsamsError,
    MethodsNotAllocated,
    RequestRefused,
    ServerBusy,
    ServerTimeout,
    Throttled,
)
from isams_pipeline.sources.isams.document import Message
from isams_pipeline.sources.shared.statuses import REPORT, RETRIED, Meaning, Statuses

_THROTTLE_WORDS = ("throttl", "too many requests", "rate limit", "limit exceeded")
_TIMEOUT_WORDS = ("timeout expired", "timed out", "time-out", "timeout period elapsed", "gateway timeout")


def error_for(status: int | None, message: Message | None, *, wait: float | None = None) -> IsamsError:
    """The typed error for an answer that is not data.

    `status` is None for a saved document, and 200 where the document came in the place of data.
    """
    said = f"{message.id} {message.title} {message.description}".casefold() if message else ""
    if status == 429 or any(word in said for word in _THROTTLE_WORDS):  # noqa: PLR2004
        return Throttled(
            "iSAMS throttles this key",
            remedy="Run it again later; raise the key's limit in iSAMS if this is usual.",
            retry_after=wait,
        )
    if message is not None:
        return _by_message(status, message, said, wait)
    return STATUSES.error(status, wait=wait)


def _by_message(status: int | None, message: Message, said: str, wait: float | None) -> IsamsError:
    match message.id.casefold():
        case "methodsnotallocatedtokeyexception":
            listed = message.description.rpartition(":")[2]
            methods = frozenset(name.strip().casefold() for name in listed.split(",") if name.strip())
            return MethodsNotAllocated(
                f"The key may not run {', '.join(_as_ticked(methods)) or 'some of the methods'}",
                methods=methods,
                remedy="Tick them under the key's Batch Methods in iSAMS, or move the feed to another key.",
            )
        case "invalidapikey":
            return InvalidKey(
                "iSAMS does not know the key",
                remedy="Check the variable that the key's secret names in schools.yaml, and that the key is Active "
                "in iSAMS.",
            )
        case "missingparameter":
            return RequestRefused(
                "iSAMS found a field of the request missing or malformed",
                remedy="Check that the key is a complete GUID.",
            )
        case "filtersrequiredexception":
            return RequestRefused(
                "iSAMS needs a filter for one of the methods",
                remedy="Remove that method from the key; this project asks for none that needs another filter.",
            )
        case "unhandledexception" if "root level is invalid" in said:
            return RequestRefused("iSAMS could not read the request", remedy=REPORT)
        case "unhandledexception" if "deadlocked" in said or "lock request time out" in said:
            return ServerBusy("iSAMS's database was locked", remedy=RETRIED, retry_after=wait)
        case _ if any(word in said for word in _TIMEOUT_WORDS):
            return _timed_out(wait)
        case "unhandledexception":
            return IsamsError("iSAMS failed", message=message.id, remedy="Ask iSAMS support with the time of this run.")
        case _ if status in {401, 403}:
            return AccessRefused(
                "iSAMS refused the request",
                status=status,
                message=message.id[:80] or None,
                remedy="Check the key's IP, domain and SSL restrictions in iSAMS.",
            )
        case _ if status is None or status < 400 or status in {408, 502, 503, 504}:  # noqa: PLR2004
            # A <Message> where data should be. After 35 seconds the server gives up this way; what that
            # document says stands in no public source.
            return _timed_out(wait, message.id[:80])
        case _:
            return IsamsError(
                "iSAMS failed",
                status=status,
                message=message.id[:80] or None,
                remedy="Ask iSAMS support with the time of this run.",
            )


def _as_ticked(methods: frozenset[str]) -> list[str]:
    """Methods, which iSAMS prints in lower case, as they are written elsewhere."""
    known = {method.casefold(): method for method in KNOWN_METHODS}
    return [known.get(method, method) for method in sorted(methods)]


_TIMED_OUT: Meaning = (
    ServerTimeout,
    "iSAMS ran out of time",
    "A night's request is repeated, then for one method at a time; if this is usual, spread the feeds over more keys.",
)


def _timed_out(wait: float | None, message: str | None = None) -> ServerTimeout:
    _, what, remedy = _TIMED_OUT
    return ServerTimeout(what, message=message, remedy=remedy, retry_after=wait)


_SUPPORT = "Ask iSAMS support with the time of this run."
_CHECK_KEY = "Check the variable that the key's secret names in schools.yaml, and that the key is Active in iSAMS."
_RESTRICTED = "Allow this machine's address in the key's IP, domain and SSL restrictions in iSAMS."
STATUSES = Statuses(
    "iSAMS",
    "isams.url",
    "iSAMS support",
    own={
        400: (IsamsError, "iSAMS failed", _SUPPORT),
        401: (InvalidKey, "iSAMS does not accept the key", _CHECK_KEY),
        403: (AccessRefused, "iSAMS refuses requests from this machine", _RESTRICTED),
        404: (RequestRefused, "There is no Batch API at this address", "Check isams.url in schools.yaml."),
        408: _TIMED_OUT,
        422: (IsamsError, "iSAMS failed", _SUPPORT),
        500: (IsamsError, "iSAMS failed", _SUPPORT),
        504: _TIMED_OUT,
    },
)
