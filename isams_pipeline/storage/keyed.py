"""Hashes that only who has this data folder can make: what says that somebody was asked about, and not who."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

from isams_pipeline.storage.folder import Folder

KEY = "rights/key"
_BYTES = 32


def keyed_hash(data: Folder) -> Callable[..., str]:
    """A function of texts → their hash under the folder's own key, which is made when it is first needed."""
    if not data.exists(KEY):
        data.write(KEY, secrets.token_hex(_BYTES).encode())
    key = bytes.fromhex(data.read(KEY).decode())

    def of(*texts: str) -> str:
        said = "\x00".join(texts)
        return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()

    return of
