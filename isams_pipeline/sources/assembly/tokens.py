"""The school's tokens at Assembly: from the code of a redirect, renewed, proven to be this school's, kept sealed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from urllib.parse import urlencode

import httpx

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import InvalidKey, NotAuthorised, PipelineError, RequestRefused, WrongToken
from isams_pipeline.sources.assembly.answers import scopes_in
from isams_pipeline.sources.assembly.lists import ON_DEMAND, SCOPES
from isams_pipeline.sources.assembly.settings import AssemblySettings
from isams_pipeline.sources.shared.http import Credential
from isams_pipeline.sources.shared.transport import SMALL
from isams_pipeline.sources.shared.values import as_object
from isams_pipeline.sources.shared.wire import Wire
from isams_pipeline.storage.state.tokens import TokenVault

_EARLY = timedelta(seconds=60)
_LIFE = 86_400
"""Seconds of a token's life where the answer does not say."""


class SchoolTokens:
    """One school's tokens. `exclusive` holds off other processes while they are renewed."""

    def __init__(
        self,
        settings: AssemblySettings,
        app: Credential,
        vault: TokenVault,
        platform: Wire,
        *,
        clock: Clock,
        exclusive: Callable[[], AbstractContextManager[None]],
        also: Collection[str] = (),
    ) -> None:
        """`also` are scopes that are asked for only where somebody is to get what they give."""
        self._also = also
        self._settings, self._app, self._vault, self._platform = settings, app, vault, platform
        self._clock, self._exclusive = clock, exclusive

    def authorise_url(self, state: str) -> str:
        """Where a person of the school authorises the app. `state` comes back with the code."""
        scopes = [name if needed else f"{name}:optional" for name, needed in SCOPES.items() if self._asks(name)]
        query = {
            "client_id": self._app.client_id or "",
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(scopes),
            "state": state,
        }
        return f"{self._settings.platform}/oauth/authorize?{urlencode(query)}"

    def _asks(self, scope: str) -> bool:
        return scope not in ON_DEMAND or scope in self._also

    def of_app(self) -> str:
        """A token of the app itself, which reads no school."""
        return str(self._asked({"grant_type": "client_credentials"})["access_token"])

    def from_code(self, code: str) -> Json:
        """The tokens that a code is good for, not kept yet: whose they are is still to be proven."""
        answer = self._asked(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": self._settings.redirect_uri}
        )
        return self._told(answer, answer.get("refresh_token"))

    def keep(self, tokens: Json, urn: str) -> None:
        """Keep tokens that are proven to be of the school with this URN; raises WrongToken for another school's."""
        if urn != self._settings.urn:
            raise self.another_schools("The code is of a school with another URN")
        self._vault.save(tokens | {"urn": urn})

    def kept(self) -> Json | None:
        """What is kept, if anything. Raises WrongToken where it was for another URN, and TokensUnreadable."""
        tokens = self._vault.load()
        if tokens is not None and tokens.get("urn") != self._settings.urn:
            raise self.another_schools("The token was given for a school with another URN")
        return tokens

    def whoever_they_are_of(self) -> str | None:
        """The access token, even if it was for another URN; None where none is kept."""
        tokens = self._vault.load()
        return None if tokens is None else str(tokens["access_token"])

    def forget(self) -> None:
        """Keep none."""
        self._vault.forget()

    def remember_scopes(self, scopes: list[str]) -> None:
        """Note the scopes that the token has turned out to have."""
        tokens = self.kept()
        if tokens is not None and tokens.get("scopes") != scopes:
            self._vault.save(tokens | {"scopes": scopes})

    def access(self, unwanted: str | None) -> str:
        """The school's access token, renewed where it is about to end or is `unwanted`. Raises NotAuthorised."""
        tokens = self.kept()
        if tokens is None or not self._is_good(tokens, unwanted):
            with self._exclusive():
                tokens = self.kept()  # another process may have renewed it
                if tokens is None:
                    raise self.not_authorised("The school has not authorised the app")
                if not self._is_good(tokens, unwanted):
                    tokens = self._renewed(tokens)
        return str(tokens["access_token"])

    def _is_good(self, tokens: Json, unwanted: str | None) -> bool:
        return tokens["access_token"] != unwanted and self._clock() <= datetime.fromisoformat(tokens["until"]) - _EARLY

    def _renewed(self, tokens: Json) -> Json:
        try:
            answer = self._asked({"grant_type": "refresh_token", "refresh_token": str(tokens.get("refresh_token"))})
        except (InvalidKey, RequestRefused):
            raise self.not_authorised("The school has taken the app's authorisation back") from None
        fresh = self._told(answer, answer.get("refresh_token") or tokens.get("refresh_token"))
        if fresh["school_id"] != tokens.get("school_id"):
            raise self.another_schools("Assembly answered with the token of another school")
        if fresh["scopes"] is None:
            fresh["scopes"] = tokens.get("scopes")
        fresh |= {"urn": tokens.get("urn")}
        self._vault.save(fresh)
        return fresh

    def _asked(self, form: Mapping[str, str]) -> Json:
        """As a form and not as a query, where the documents have them: an address ends up in logs."""
        path = "/oauth/token"
        auth = httpx.BasicAuth(self._app.client_id or "", self._app.secret)
        found = as_object(self._platform.json(self._platform.ask("POST", path, form=form, auth=auth, most=SMALL), path))
        if not isinstance(found.get("access_token"), str):
            raise self._platform.not_data("The answer holds no token", path)
        return found

    def _told(self, answer: Json, refresh_token: object) -> Json:
        life = answer.get("expires_in")
        seconds = float(life) if isinstance(life, int | float) else _LIFE
        return {
            "access_token": answer["access_token"],
            "refresh_token": refresh_token,
            "until": (self._clock() + timedelta(seconds=seconds)).isoformat(),
            "school_id": answer.get("school_id"),
            "scopes": scopes_in(answer.get("scopes")),  # None where the answer does not say
        }

    def not_authorised(self, what: str) -> PipelineError:
        """The error for a school that has to authorise the app, first or anew."""
        remedy = f"Run `isams-pipeline connector authorise {self._platform.where['school']} --source assembly`."
        return NotAuthorised(what, remedy=remedy).at(**self._platform.where)

    def another_schools(self, what: str) -> PipelineError:
        """The error for tokens that are not this school's."""
        remedy = (
            f"Check assembly.urn, then run `isams-pipeline connector authorise {self._platform.where['school']} "
            "--source assembly`."
        )
        return WrongToken(what, remedy=remedy).at(**self._platform.where)
