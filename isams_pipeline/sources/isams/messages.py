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
    Unavailable,
)
from isams_pipeline.sources.isams.document import Message

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
            remedy="It is asked again later; raise the key's limit in iSAMS if this is usual.",
            retry_after=wait,
        )
    if message is not None:
        return _by_message(status, message, said, wait)
    return _by_status(status, wait)


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
                remedy="Check the environment variable, and that the key is Active in iSAMS.",
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
            return RequestRefused("iSAMS could not read the request", remedy="Report this as a bug.")
        case "unhandledexception" if "deadlocked" in said or "lock request time out" in said:
            return ServerBusy("iSAMS's database was locked", remedy="It is asked again.", retry_after=wait)
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


def _timed_out(wait: float | None, message: str | None = None) -> ServerTimeout:
    return ServerTimeout(
        "iSAMS ran out of time",
        message=message,
        remedy="It is asked again, then for one method at a time; if this is usual, spread the feeds over more keys.",
        retry_after=wait,
    )


def _by_status(status: int | None, wait: float | None) -> IsamsError:
    match status:
        case 401:
            return InvalidKey(
                "iSAMS does not accept the key",
                status=status,
                remedy="Check the environment variable, and that the key is Active in iSAMS.",
            )
        case 403:
            return AccessRefused(
                "The way to iSAMS is closed to this machine",
                status=status,
                remedy="Allow its address in the key's IP, domain and SSL restrictions in iSAMS.",
            )
        case 408 | 504:
            return _timed_out(wait)
        case 502 | 503:
            return Unavailable("iSAMS is not available", status=status, remedy="It is asked again.", retry_after=wait)
        case 404:
            return RequestRefused(
                "There is no Batch API at this address",
                status=status,
                remedy="Check isams.url in schools.yaml.",
            )
        case int() if 300 <= status < 400:  # noqa: PLR2004
            return AccessRefused(
                "The address sends elsewhere, and a key follows no redirect",
                status=status,
                remedy="Write the final address as isams.url.",
            )
        case _:
            return IsamsError("iSAMS failed", status=status, remedy="Ask iSAMS support with the time of this run.")
