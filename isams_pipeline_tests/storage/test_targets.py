"""Where exports go: an OpenSSH server that must prove who it is, and an S3 server; real ones, on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from isams_pipeline.config import load_settings
from isams_pipeline.delivery.receipts import Outcome
from isams_pipeline.errors import ConfigurationError, StorageError, TargetUnavailable, UntrustedTarget
from isams_pipeline.storage.folder import Folder
from isams_pipeline_tests.world import SCHOOL, World

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH')}:/usr/sbin")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="needs the distribution's openssh-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def deliver(world: World, **settings: str) -> None:
    """Let SchoolsBuddy's files go elsewhere."""
    world.configure(lambda config: config["schools"][SCHOOL]["partners"]["schoolsbuddy"].update(settings))


@dataclass
class Sshd:
    """An OpenSSH server of this user's own; `home` is the client's."""

    folder: Path
    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"sftp://{os.environ.get('USER') or 'root'}@127.0.0.1:{self.port}{self.folder}/target"

    def key(self, name: str) -> Path:
        file = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
        return file

    def start(self, host_key: Path) -> None:
        config = self.folder / "sshd_config"
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nAuthorizedKeysFile {self.folder}/authorized\nPermitRootLogin yes\n"
            f"Subsystem sftp internal-sftp -u 0000\n"
        )
        with (self.folder / "sshd.log").open("wb") as log:
            self.process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stderr=log)
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            assert self.process.poll() is None, (self.folder / "sshd.log").read_text()
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("it does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(15)
            self.process = None

    def trust(self, host_key: Path) -> None:
        kind, key, *_ = host_key.with_suffix(".pub").read_text().split()
        (self.home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder = tmp_path / "server"
    folder.mkdir()
    made = Sshd(folder, home, free_port())
    own = made.key("user")
    shutil.copy(own.with_suffix(".pub"), folder / "authorized")
    shutil.copy(own, home / ".ssh/id_ed25519")
    yield made
    made.stop()


@needs_sshd
def test_files_go_to_a_known_server_and_are_nobody_elses(sshd: Sshd):
    key = sshd.key("host")
    sshd.start(key)
    sshd.trust(key)
    folder = Folder(sshd.url)
    folder.write("riverside/2026-11-20/students.csv", b"one")
    folder.write("riverside/2026-11-20/students.csv", b"two")
    folder.write_json("riverside/2026-11-20/manifest.json", {"a": 1})
    assert folder.read("riverside/2026-11-20/students.csv") == b"two"
    assert folder.names("riverside/2026-11-20") == ["manifest.json", "students.csv"]
    there = sshd.folder / "target/riverside/2026-11-20"
    assert stat.S_IMODE((there / "students.csv").stat().st_mode) == 0o600
    assert stat.S_IMODE(there.stat().st_mode) == stat.S_IMODE(there.parent.stat().st_mode) == 0o700
    assert not [name for name in os.listdir(there) if name.startswith(".incoming")]
    folder.remove("riverside/2026-11-20/manifest.json")
    with pytest.raises(FileNotFoundError):
        folder.read("riverside/2026-11-20/manifest.json")


@needs_sshd
def test_an_unknown_server_gets_nothing(sshd: Sshd):
    key = sshd.key("host")
    sshd.start(key)
    printed = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True).stdout
    with pytest.raises(UntrustedTarget) as refused:
        Folder(sshd.url, password="canary")
    said = str(refused.value)
    assert printed.split()[1] in said and f"ssh-keyscan -p {sshd.port} 127.0.0.1" in said and "canary" not in said
    assert not refused.value.retryable
    assert "Accepted" not in (log := (sshd.folder / "sshd.log").read_text()) and "Failed password" not in log


@needs_sshd
def test_an_impostor_gets_nothing_either(sshd: Sshd):
    own, impostor = sshd.key("host"), sshd.key("impostor")
    sshd.trust(own)
    sshd.start(impostor)
    with pytest.raises(UntrustedTarget, match="another key than it had") as refused:
        Folder(sshd.url, password="canary")
    said = str(refused.value)
    for key in (own, impostor):
        printed = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True).stdout
        assert printed.split()[1] in said
    assert not refused.value.retryable and "ssh-keygen -R" in said
    assert "password" not in (sshd.folder / "sshd.log").read_text()


@needs_sshd
def test_a_user_who_is_not_let_in(sshd: Sshd):
    key = sshd.key("host")
    sshd.start(key)
    sshd.trust(key)
    with pytest.raises(StorageError, match="does not let the user in") as refused:
        Folder(sshd.url, password="canary")
    assert not refused.value.retryable and "canary" not in str(refused.value)


@needs_sshd
def test_a_server_that_is_not_there_or_goes_away_is_tried_again(sshd: Sshd):
    key = sshd.key("host")
    sshd.trust(key)
    with pytest.raises(TargetUnavailable, match="cannot be reached"):
        Folder(sshd.url)
    sshd.start(key)
    folder = Folder(sshd.url)
    folder.write("a", b"1")
    sshd.stop()
    subprocess.run(["pkill", "-f", f"sshd.*{sshd.folder.name}"], check=False)
    folder._fs.client.get_transport().close()
    with pytest.raises(TargetUnavailable) as lost:
        folder.write("b", b"2")
    assert lost.value.retryable
    sshd.start(key)
    again = Folder(sshd.url)
    assert again.names() == ["a"], "and the lost connection is not taken again"


def test_something_that_is_no_sftp_server_is_a_typed_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        import threading

        def answer() -> None:
            connection, _ = server.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(TargetUnavailable):
            Folder(f"sftp://a@127.0.0.1:{port}/x")


@needs_sshd
def test_a_night_is_delivered_by_sftp_and_waits_for_a_server_that_is_down(world: World, sshd: Sshd):
    key = sshd.key("host")
    sshd.trust(key)
    deliver(world, deliver_to=sshd.url)
    run = world.run(0)
    assert run.outcome is Outcome.FAILED and "SFTP server cannot be reached" in (run.reason or "")
    sshd.start(key)
    run = world.run(0)
    assert run.outcome is Outcome.DELIVERED, run.reason
    there = next((sshd.folder / "target/schoolsbuddy/riverside").iterdir())
    assert {"students.csv", "contacts.csv", "manifest.json"} <= set(os.listdir(there))


# --- S3 -------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_night_is_delivered_to_s3(world: World, bucket: str):
    deliver(world, deliver_to=bucket)
    assert world.run(0).outcome is Outcome.DELIVERED
    assert world.run(0).outcome is Outcome.UNCHANGED
    folder = Folder(bucket)
    (night,) = folder.names("schoolsbuddy/riverside")
    names = folder.names(f"schoolsbuddy/riverside/{night}")
    assert {"students.csv", "contacts.csv", "manifest.json"} <= set(names)
    assert not [name for name in names if name.startswith(".incoming")]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_s3_server_that_is_not_there_is_tried_again(bucket: str, monkeypatch: pytest.MonkeyPatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(TargetUnavailable):
        Folder(bucket).exists("x")


def test_an_s3_server_without_tls_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.org")
    with pytest.raises(StorageError, match="without TLS"):
        Folder("s3://partner/in")


# --- what schools.yaml may say --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "said"),
    [
        *(
            (f"{scheme}://host/x", "is not encrypted")
            for scheme in ("ftp", "http", "https", "memory", "smb", "webhdfs", "ssh", "github", "S3", "gcs", "")
        ),
        ("simplecache::s3://b/x", "is not encrypted"),
        ("zip://a.zip::/etc/x", "is not encrypted"),
        ("sftp://user:canary@host/x", "no place for a password"),
        ("s3://AKIA:canary@bucket/x", "no place for a password"),
        ("s3://AKIA@bucket/x", "no place for a password"),
        ("sftp:///x", "write sftp://user@host/path"),
        ("file://host/x", "write file:///path"),
    ],
)
def test_a_place_that_protects_nothing_is_refused_when_it_is_loaded(world: World, target: str, said: str):
    with pytest.raises(ConfigurationError, match=said) as refused:
        deliver(world, deliver_to=target)
        load_settings(world.config)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "target",
    [
        "data/exports",
        "/srv/x",
        "file:///srv/x",
        "s3://b/x",
        "gs://b/x",
        "abfs://c@a.dfs.core.windows.net/x",
        "sftp://u@h/x",
    ],
)
def test_places_that_may_be_delivered_to(world: World, target: str):
    deliver(world, deliver_to=target)
    assert load_settings(world.config)


def test_a_password_is_for_sftp(world: World):
    with pytest.raises(ConfigurationError, match="password of an sftp:// user"):
        deliver(world, deliver_secret="A_SECRET")
        load_settings(world.config)
