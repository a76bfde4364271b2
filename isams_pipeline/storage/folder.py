"""One code path for local disks and object stores: files appear whole under their name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Generator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from fsspec.implementations.local import LocalFileSystem  # pyright: ignore[reportMissingTypeStubs]

from isams_pipeline.config.values import is_loopback
from isams_pipeline.errors import PipelineError, StorageError, TargetUnavailable

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
_TEMPORARY = ".incoming-"

_REMEDIES = {
    errno.ENOSPC: "The disk is full; free some space and run again.",
    errno.EDQUOT: "The quota is used up; free some space and run again.",
    errno.EACCES: "Permission is denied; let this user write there.",
    errno.EPERM: "Permission is denied; let this user write there.",
    errno.EROFS: "The file system is read-only; mount it writable or deliver elsewhere.",
    errno.ENOTDIR: "A file is in the way of a folder; move it away.",
}


class Folder:
    """A folder by any fsspec URL (`data/exports`, `s3://bucket/prefix`, `memory://x`).

    Paths are relative and use `/`. On a local disk, folders are 0700 and files 0600. Every failure is a
    StorageError that names the folder and the file.
    """

    def __init__(
        self, url: str | os.PathLike[str], *, password: str | None = None, inside: tuple[Any, str] | None = None
    ) -> None:
        """`password` is that of an sftp:// user; without one, the user's keys are used."""
        self.url = os.fspath(url)
        self._fs, self._root = inside or _opened(self.url, password)
        self.is_local = isinstance(self._fs, LocalFileSystem)
        kinds: Any = self._fs.protocol
        self.is_object_store = bool(_OBJECT_STORES.intersection((kinds,) if isinstance(kinds, str) else kinds))
        """A file appears there whole, or not at all, by one request; and there are no folders, and no renaming."""

    @property
    def _is_s3(self) -> bool:
        return type(self._fs).__name__ == "S3FileSystem"

    def __reduce__(self) -> tuple[Any, ...]:
        return Folder, (self.url,)

    def __str__(self) -> str:
        return _without_secrets(self.url)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def child(self, path: str) -> Folder:
        """The same place, one or more levels down."""
        return Folder(f"{self.url.rstrip('/')}/{path}", inside=(self._fs, self._at(path)))

    def location(self, path: str) -> str:
        """The path as a person would look for it."""
        return f"{_without_secrets(self.url).rstrip('/')}/{path}"

    @contextlib.contextmanager
    def _guarded(self, doing: str, path: str) -> Generator[None, None, None]:
        try:
            yield
        except PipelineError:
            raise
        except Exception as error:  # noqa: BLE001  # every store has errors of its own
            if not self.is_local and _is_of_the_network(error):
                raise TargetUnavailable(
                    f"Could not {doing}: {type(error).__name__}", file=self.location(path), remedy=_UNREACHED
                ) from None
            number = error.errno if isinstance(error, OSError) else None
            remedy = _REMEDIES.get(number or 0, "Check that the place exists and may be written.")
            name = errno.errorcode.get(number, "") if number else type(error).__name__
            raise StorageError(f"Could not {doing}: {name}", file=self.location(path), remedy=remedy) from None

    def _make_parents(self, target: str) -> None:
        parent = target.rpartition("/")[0]
        if not self.is_local:
            self._fs.makedirs(parent, exist_ok=True)
            return
        missing = [Path(parent)]
        while not missing[-1].exists():
            missing.append(missing[-1].parent)
        for folder in reversed(missing[:-1]):
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)

    @contextlib.contextmanager
    def incoming(self, path: str = "") -> Generator[Incoming, None, None]:
        """A new file under a temporary name; `publish` it, or it is gone at the end."""
        beside = path.rpartition("/")[0]
        name = f"{_TEMPORARY}{uuid.uuid4().hex}"
        temporary = f"{beside}/{name}" if beside else name
        incoming = _Spooled(self, temporary) if self.is_object_store else self._opened(path, temporary)
        try:
            yield incoming
        finally:
            incoming.discard()

    def _opened(self, path: str, temporary: str) -> Incoming:
        with self._guarded("write", path or temporary):
            self._make_parents(self._at(temporary))
            if self.is_local:
                handle: IO[bytes] = os.fdopen(
                    os.open(self._at(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb"
                )
            else:
                handle = self._fs.open(self._at(temporary), "wb")
        return Incoming(self, temporary, handle)

    def put(self, path: str, file: IO[bytes], size: int) -> None:
        """Write a whole file to an object store, from its beginning: by one request, or where it is large, in parts."""
        file.seek(0)
        with self._guarded("write", path):
            if size <= _AT_ONCE:
                self._fs.pipe_file(self._at(path), file.read())
                return
            out = self._fs.open(self._at(path), "wb")
            try:
                shutil.copyfileobj(file, out, _AT_ONCE)
            except BaseException:
                out.discard()  # else closing would make a file of what has come so far
                raise
            out.close()

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file; a reader sees the old one or the new one."""
        with self.incoming(path) as incoming:
            incoming.write(data)
            incoming.publish(path)

    def write_unless_there(self, path: str, data: bytes, earlier: Iterable[str]) -> None:
        """Write a whole file. Where the first of `earlier` that is there holds the same, that gets a second name.

        Two names of one file cost no room, and neither changes with the other as long as a file is only ever replaced.
        On an object store, and on a disk that knows no second names, the file is written.
        """
        before = next((other for other in earlier if self.is_local and self.exists(other)), None)
        if before is None or self.read(before) != data or not self._name_again(before, path):
            self.write(path, data)

    def _name_again(self, there: str, path: str) -> bool:
        beside = path.rpartition("/")[0]
        temporary = f"{beside}/{_TEMPORARY}{uuid.uuid4().hex}" if beside else f"{_TEMPORARY}{uuid.uuid4().hex}"
        with self._guarded("write", path):
            self._make_parents(self._at(temporary))
        try:
            Path(self._at(temporary)).hardlink_to(self._at(there))
            Path(self._at(temporary)).replace(self._at(path))
        except OSError:  # no second names here, or too many of this file
            self.remove(temporary)
            return False
        self.remove(temporary)  # which stays where both names were the same file already
        return True

    def write_json(self, path: str, value: object) -> None:
        """Write a value as JSON that a person can read."""
        self.write(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())

    def read(self, path: str) -> bytes:
        """A whole file; raises FileNotFoundError where there is none."""
        if self.is_object_store:
            with self._guarded("read", path):
                try:
                    # Without asking for its size first, which S3's would, to read large ones in parts.
                    return self._fs.cat_file(self._at(path), **({"max_concurrency": 1} if self._is_s3 else {}))
                except FileNotFoundError:
                    pass
            raise FileNotFoundError(self.location(path))
        with self.open(path) as file:
            return file.read()

    def read_json(self, path: str) -> Any:
        """A JSON file; raises FileNotFoundError where there is none, StorageError where it is not JSON."""
        try:
            return json.loads(self.read(path))
        except ValueError:
            raise StorageError(
                "Not a JSON file", file=self.location(path), remedy="Restore it from a backup, or remove it."
            ) from None

    def open(self, path: str) -> IO[bytes]:
        """A file to read; raises FileNotFoundError where there is none."""
        if self.is_object_store:  # one request; what is large is compressed there
            return io.BytesIO(self.read(path))
        try:
            with self._guarded("read", path):
                return self._fs.open(self._at(path), "rb")
        except StorageError:
            if not self.exists(path):
                raise FileNotFoundError(self.location(path)) from None
            raise

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        with self._guarded("look", path):
            return bool(self._fs.exists(self._at(path)))

    def modified(self, path: str) -> datetime:
        """When a file was written last; raises FileNotFoundError where there is none."""
        try:
            with self._guarded("look", path):
                found: datetime = self._fs.modified(self._at(path))
        except StorageError:
            if not self.exists(path):
                raise FileNotFoundError(self.location(path)) from None
            raise
        return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

    def names(self, path: str = "") -> list[str]:
        """Names directly in a folder, sorted, without temporary ones; empty where there is no such folder."""
        with self._guarded("list", path):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._at(path), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = {str(entry).rstrip("/").rpartition("/")[2] for entry in found}
        return sorted(name for name in names if not name.startswith(_TEMPORARY))

    def below(self, path: str = "") -> list[str]:
        """The files below a folder however deep, sorted, as paths in this place; without temporary ones."""
        with self._guarded("list", path):
            self._fs.invalidate_cache()
            try:
                found = self._all_below(path)
            except FileNotFoundError:
                return []
        start = len(self._at("")) + 1
        paths = (entry[start:] for entry in found)
        return sorted(path for path in paths if not path.rpartition("/")[2].startswith(_TEMPORARY))

    def is_below(self, other: Folder) -> bool:
        """Whether the place is another one, or in it."""
        if self.is_local and other.is_local:
            return Path(self._root).resolve().is_relative_to(Path(other._root).resolve())
        return self._fs is other._fs and f"{self._root}/".startswith(f"{other._root}/")

    def sweep(self, path: str = "", *, deep: bool = False) -> int:
        """Remove the temporary files that killed processes left in a folder; with `deep` in all below it as well.

        Only for who holds the folder alone. Gives the number of files.
        """
        with self._guarded("list", path):
            self._fs.invalidate_cache()
            try:
                found = self._all_below(path) if deep else [str(e) for e in self._fs.ls(self._at(path), detail=False)]
            except (FileNotFoundError, NotADirectoryError):
                return 0
        left = [entry for entry in found if entry.rstrip("/").rpartition("/")[2].startswith(_TEMPORARY)]
        for entry in left:
            with self._guarded("remove", path), contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(entry)
        return len(left)

    def _all_below(self, path: str) -> list[str]:
        if not self.is_local:
            return [str(entry) for entry in self._fs.find(self._at(path), detail=False)]
        # Names only: a school's nights are many thousand files, and nobody wants to know how large they are.
        return [f"{folder}/{name}" for folder, _, names in os.walk(self._at(path)) for name in names]

    def remove(self, path: str) -> None:
        """Remove a file; it may be gone already."""
        with self._guarded("remove", path), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._at(path))

    def remove_tree(self, path: str) -> int:
        """Remove a folder and all that is in it; gives the number of files. It may be gone already."""
        with self._guarded("remove", path):
            self._fs.invalidate_cache()
            count = len(self._fs.find(self._at(path))) if self._fs.exists(self._at(path)) else 0
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(self._at(path), recursive=True)
            self._fs.invalidate_cache()
        return count

    def move(self, source: str, target: str) -> None:
        """Give a file another name; it replaces what had that name, in one step on a local disk."""
        with self._guarded("rename", target):
            if self.is_local:
                os.replace(self._at(source), self._at(target))  # noqa: PTH105
            elif self.is_object_store:
                self._fs.cp_file(self._at(source), self._at(target))
                self._fs.rm_file(self._at(source))
            else:
                self._fs.mv(self._at(source), self._at(target))


class Incoming(io.RawIOBase):
    """A file on its way in, under a temporary name."""

    def __init__(self, folder: Folder, temporary: str, handle: IO[bytes]) -> None:
        super().__init__()
        self._folder = folder
        self._handle = handle
        self.temporary = temporary
        self._pending = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        with self._folder._guarded("write", self.temporary):  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            self._handle.write(data)
        return len(data)

    def _finish(self) -> None:
        with self._folder._guarded("write", self.temporary):  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            if not self._handle.closed:
                self._handle.flush()
                with contextlib.suppress(io.UnsupportedOperation, AttributeError):
                    os.fsync(self._handle.fileno())
                self._handle.close()

    def keep(self) -> str:
        """Close the file and leave it under its temporary name, which is returned."""
        self._finish()
        self._pending = False
        return self.temporary

    def again(self) -> IO[bytes]:
        """What was written so far, to read; nothing is written any more. It may still be published."""
        self._finish()
        return self._folder.open(self.temporary)

    def publish(self, path: str) -> None:
        """Close the file and give it its name."""
        self._finish()
        self._folder.move(self.temporary, path)
        self._pending = False

    def discard(self) -> None:
        """Remove the file, unless it was published or kept."""
        if not self._pending:
            return
        self._pending = False
        with contextlib.suppress(Exception):
            self._handle.close()
        with contextlib.suppress(Exception):
            self._folder.remove(self.temporary)


class _Spooled(Incoming):
    """A file on its way to an object store: here until it is whole, then there by one request."""

    def __init__(self, folder: Folder, temporary: str) -> None:
        super().__init__(folder, temporary, tempfile.SpooledTemporaryFile(_AT_ONCE))  # noqa: SIM115  # see discard
        self._size = 0

    def write(self, data: Any, /) -> int:
        self._handle.write(data)
        self._size += len(data)
        return len(data)

    def keep(self) -> str:
        """Write the file under its temporary name, which is returned."""
        self._folder.put(self.temporary, self._handle, self._size)
        self.discard()
        return self.temporary

    def again(self) -> IO[bytes]:
        self._handle.seek(0)
        return io.BytesIO(self._handle.read())

    def publish(self, path: str) -> None:
        self._folder.put(path, self._handle, self._size)
        self.discard()

    def discard(self) -> None:
        self._pending = False
        self._handle.close()


_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"}
_AT_ONCE = 1 << 23
_UNREACHED = "Retried automatically. Check the URL, and that the server takes connections from this machine."
_EXTRAS = {"s3": "s3", "gs": "gcs", "abfs": "azure", "sftp": "sftp"}
"""Kind of URL → the extra of this package that it needs."""


def _opened(url: str, password: str | None) -> tuple[Any, str]:
    """The file system of a URL, and the path within it."""
    place = _without_secrets(url)
    scheme = url.partition("://")[0]
    try:
        if scheme == "sftp":
            from isams_pipeline.storage.sftp import opened  # noqa: PLC0415  # needs its extra

            return opened(url, password)
        if scheme == "s3":
            _refuse_plain_endpoint(place)
        opening: Any = fsspec.core
        # What other machines write there is to be seen at once.
        fresh = {"use_listings_cache": False} if scheme in _OBJECT_STORES else {}
        fs, root = opening.url_to_fs(url, **fresh)
    except PipelineError:
        raise
    except ImportError:
        extra = _EXTRAS.get(scheme)
        remedy = f"Run `pip install 'isams-pipeline[{extra}]'`" if extra else "Check the URL"
        raise StorageError(f"To write to {place} a package is needed that is not there", remedy=f"{remedy}.") from None
    except Exception as error:  # noqa: BLE001  # every store has errors of its own
        if _is_of_the_network(error):
            raise TargetUnavailable(f"{place} cannot be reached: {type(error).__name__}", remedy=_UNREACHED) from None
        raise StorageError(
            f"There is no way to write to {place}: {type(error).__name__}",
            remedy="Check the URL, and who may write there (docs/configuration.md).",
        ) from None
    return fs, str(root).rstrip("/")


def _refuse_plain_endpoint(place: str) -> None:
    """An S3 server of one's own over plain HTTP would get keys and files unprotected."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "FSSPEC_S3_ENDPOINT_URL"):
        parts = urlsplit(os.environ.get(name, ""))
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise StorageError(
                f"{name} names a server without TLS, over which nobody's data should go",
                folder=place,
                remedy="Write https://.",
            )


def _is_of_the_network(error: BaseException) -> bool:
    """Whether the way to a place is down, by the types of the libraries that may not be installed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    known = isinstance(error, ConnectionError | TimeoutError | EOFError | socket.gaierror)
    # Paramiko's, of a socket that was closed, has no number, as one of a file would.
    known = known or (type(error) is OSError and error.errno is None)
    return known or bool(names & _OF_THE_NETWORK)


_OF_THE_NETWORK = {
    *("SSHException", "NoValidConnectionsError"),  # paramiko
    *("EndpointConnectionError", "ConnectTimeoutError", "HTTPClientError"),  # botocore
    *("ClientConnectionError", "ClientConnectorError"),  # aiohttp
    *("ServiceRequestError", "TransportError"),  # Azure, Google
}


def _without_secrets(url: str) -> str:
    """A URL without the user and password that it may carry."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}"
