"""Hashes that only who has this data folder can make: what says that somebody was asked about, and not who."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from isams_pipeline.storage.folder import Folder

KEY = "rights/key"
_BYTES = 32


@dataclass(frozen=True)
class KeyedHash:
    """A function of texts → their hash under a key."""

    key: bytes = field(repr=False)
    before: tuple[str, ...] = ()
    """Texts that come before those that are given."""

    def __call__(self, *texts: str) -> str:
        return hmac.digest(self.key, "\x00".join((*self.before, *texts)).encode(), "sha256").hex()

    @property
    def fingerprint(self) -> str:
        """Which key it is."""
        return KeyedHash(self.key)("key")[:16]


def keyed_hash(data: Folder) -> KeyedHash:
    """The hash under the data folder's own key, which is made when it is first needed."""
    if not data.exists(KEY):
        data.write(KEY, secrets.token_hex(_BYTES).encode())
    return KeyedHash(bytes.fromhex(data.read(KEY).decode()))
