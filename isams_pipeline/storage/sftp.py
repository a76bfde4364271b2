# fsspec has no types:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""SFTP to a server that has proven who it is: its key must be known beforehand, as ssh itself would ask."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem  # pyright: ignore[reportMissingTypeStubs]

from isams_pipeline.errors import PipelineError, StorageError, TargetUnavailable, UntrustedTarget

KNOWN_HOSTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
_TIMEOUT = 30.0
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600


def opened(url: str, password: str | None) -> tuple[Any, str]:
    """The file system of `sftp://user@host:port/path`, and the path.

    Raises UntrustedTarget for a key that is not known or has changed, TargetUnavailable where nobody answers, and
    StorageError where the user is not let in.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 22
    user = unquote(parts.username) if parts.username else None
    return VerifiedSftp(host, port=port, username=user, password=password), parts.path.rstrip("/")


class _Unknown(paramiko.MissingHostKeyPolicy):
    """Refuses a key that is in no list, and says which it is."""

    def __init__(self, port: int) -> None:
        self._port = port

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        raise UntrustedTarget(
            f"The SFTP server's key is not known: {fingerprint(key)}",
            host=hostname,
            remedy="Compare the fingerprint with the one that the server's owner gives; if they match, run "
            f"`{_scan(hostname)}`.",
        )


def fingerprint(key: paramiko.PKey) -> str:
    """A host key's fingerprint as ssh prints it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


def _scan(hostname: str) -> str:
    """The command that makes a host known; paramiko writes a port as [host]:2222."""
    host, _, port = hostname.removeprefix("[").partition("]:")
    return f"ssh-keyscan {f'-p {port} ' if port else ''}{host} >> {KNOWN_HOSTS[0]}"


class VerifiedSftp(SFTPFileSystem):
    """Fsspec's SFTP, which itself takes any host key. Files are 0600 and folders 0700 where the server lets us."""

    cachable = False
    """A connection that was lost must not be had again."""

    def __init__(self, host: str, **options: Any) -> None:
        self._port = int(options["port"])
        super().__init__(host, **options)

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        for file in KNOWN_HOSTS:
            with contextlib.suppress(FileNotFoundError):
                self.client.load_host_keys(str(Path(file).expanduser()))
        self.client.set_missing_host_key_policy(_Unknown(self._port))
        has_password = self.ssh_kwargs.get("password") is not None
        try:
            self.client.connect(
                self.host,
                timeout=_TIMEOUT,
                banner_timeout=_TIMEOUT,
                auth_timeout=_TIMEOUT,
                channel_timeout=_TIMEOUT,
                look_for_keys=not has_password,
                allow_agent=not has_password,
                **self.ssh_kwargs,
            )
            self.ftp = self.client.open_sftp()
            self.ftp.get_channel().settimeout(_TIMEOUT)  # pyright: ignore[reportOptionalMemberAccess]
        except PipelineError:
            raise
        except paramiko.BadHostKeyException as error:
            raise UntrustedTarget(
                f"The SFTP server has another key than it had: {fingerprint(error.key)}, not "
                f"{fingerprint(error.expected_key)}",
                host=self.host,
                remedy="The server may not be the partner's. Ask the server's owner; only if the key was changed on "
                f"purpose, remove the old key (`ssh-keygen -R`), then run `{_scan(error.hostname)}`.",
            ) from None
        except paramiko.AuthenticationException:
            raise StorageError(
                "The SFTP server does not let the user in",
                host=self.host,
                remedy="Check the user in deliver_to, and the password in deliver_secret's variable or the user's key.",
            ) from None
        except (paramiko.SSHException, OSError, EOFError, socket.gaierror) as error:
            raise TargetUnavailable(
                f"The SFTP server cannot be reached: {type(error).__name__}",
                host=self.host,
                remedy="Retried automatically. Check deliver_to, and that the server takes connections from this "
                "machine.",
            ) from None

    def makedirs(self, path: str, exist_ok: bool = False, mode: int = _PRIVATE_FOLDER) -> None:  # noqa: FBT001, FBT002
        super().makedirs(path, exist_ok=exist_ok, mode=mode)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        file: Any = super()._open(path, mode, block_size, **options)
        if "w" in mode:
            with contextlib.suppress(OSError):  # some servers keep their own
                self.ftp.chmod(path, _PRIVATE_FILE)
        return file
