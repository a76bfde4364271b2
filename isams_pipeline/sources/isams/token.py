"""The bearer token of iSAMS's OAuth clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import httpx

from isams_pipeline.errors import InvalidKey, NotRestData
from isams_pipeline.sources.isams import document, messages
from isams_pipeline.sources.shared.http import HIDDEN_QUERY, Credential, retry_after
from isams_pipeline.sources.shared.json_answer import read_json
from isams_pipeline.sources.shared.renewed import Asking, RenewedToken
from isams_pipeline.sources.shared.transport import MOST, SMALL

TOKEN_ENDPOINT = "/auth/connect/token"  # noqa: S105
_EARLY = 60.0
"""Seconds before its end that a token is renewed; a tenth of its life if that is less."""
_LIFE = 3600.0
"""A token's, where the answer does not say."""


class ClientToken(RenewedToken):
    """A bearer token by client credentials: fetched once for all threads, renewed before it ends, once more on 401."""

    def __init__(
        self, url: str, credential: Credential, *, scope: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__("Bearer", self._current_or_new)
        self._url = url.rstrip("/") + TOKEN_ENDPOINT
        self._credential = credential
        self._scope = scope
        # A life in seconds is counted by this machine's own clock, so a server whose clock is wrong does no harm.
        self._clock = clock
        self._kept: str | None = None
        self._renew_at = 0.0

    def _current_or_new(self, request: httpx.Request, unwanted: str | None) -> Asking:
        if self._kept is not None and self._kept != unwanted and self._clock() < self._renew_at:
            return self._kept, False
        self._kept = yield from self._fetch(request)
        return self._kept, True

    def _fetch(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, str]:
        form = {
            "grant_type": "client_credentials",
            "scope": self._scope,
            "client_id": self._credential.client_id or "",
            "client_secret": self._credential.secret,
        }
        # The request's extensions have its time-outs; what it hides in its address is not for the token's.
        extensions: dict[str, object] = {**request.extensions, MOST: SMALL, HIDDEN_QUERY: {}}
        response = yield httpx.Request("POST", self._url, data=form, extensions=extensions)
        response.read()
        if response.status_code in {400, 401}:
            raise InvalidKey(
                "iSAMS does not accept the client",
                status=response.status_code,
                error=_oauth_error(response),
                remedy="Check the variables that client_id and secret name in schools.yaml, and that the client is "
                "active in iSAMS.",
            )
        if response.status_code != 200:  # noqa: PLR2004
            raise messages.error_for(
                response.status_code,
                document.read_message(response.content),
                wait=retry_after(response.headers),
            )
        try:
            answer = read_json(response.content)
            token = str(answer["access_token"])
            life = float(answer.get("expires_in") or _LIFE)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotRestData(
                "The token endpoint did not answer with a token",
                remedy="Check that isams.url is the school's iSAMS, and not a log-in page before it.",
            ) from None
        self._renew_at = self._clock() + life - min(_EARLY, life / 10)
        return token


_OAUTH = {"invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client"}


def _oauth_error(response: httpx.Response) -> str | None:
    """OAuth's own code for what is wrong, where it is one of the standard's."""
    try:
        code = read_json(response.content)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if code in _OAUTH else None
