"""Tokens at rest: encrypted under the app's own secret, so that the database alone opens nothing."""

from __future__ import annotations

import base64
import json

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from isams_pipeline.clock import Clock
from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import TokensUnreadable
from isams_pipeline.storage.state.connections import SourceToken
from isams_pipeline.storage.state.database import StateDatabase


class TokenVault:
    """One school's tokens for one source."""

    def __init__(self, state: StateDatabase, school: str, source: str, secret: str, clock: Clock) -> None:
        self._state, self._school, self._source, self._clock = state, school, source, clock
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=f"isams-pipeline {source} tokens".encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived.derive(secret.encode())))

    def load(self) -> Json | None:
        """The tokens; None where there are none. Raises TokensUnreadable where the secret is another one by now."""
        with self._state.transaction() as session:
            row = session.get(SourceToken, (self._school, self._source))
            sealed = row.sealed if row else None
        if sealed is None:
            return None
        try:
            found: Json = json.loads(self._fernet.decrypt(sealed.encode()))
        except InvalidToken:
            raise TokensUnreadable(
                "The kept tokens were encrypted with another secret of the source than the one set now",
                school=self._school,
                source=self._source,
                remedy="Set the earlier secret again; if it was changed on purpose, run `isams-pipeline connector "
                "authorise`.",
            ) from None
        return found

    def save(self, tokens: Json) -> None:
        """Keep tokens instead of those that are there."""
        sealed = self._fernet.encrypt(json.dumps(tokens).encode()).decode()
        with self._state.transaction() as session:
            session.merge(
                SourceToken(school=self._school, source=self._source, sealed=sealed, changed_at=self._clock())
            )

    def forget(self) -> None:
        """Have none."""
        with self._state.transaction() as session:
            row = session.get(SourceToken, (self._school, self._source))
            if row is not None:
                session.delete(row)
