"""What keeps made-up schools and real ones apart: a demo clears its folder, and a real school's history must not go."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator
from pathlib import Path

import filelock

from isams_pipeline.config import Settings
from isams_pipeline.errors import WrongUse

DEMO_CONFIG = "demo/schools.yaml"
SANDBOX = "sandbox"
_BY_SCHOOL = ("archive/*", "inbox/*", "lists/*/*", "tables/*/*/*", "staged/*/*", "exports/*/*", "reports/*/*")
_OURS = ("archive", "lists", "tables", "staged", "reports", "exports", "outbox", "inbox", "dagster", "locks", "demo")


def make_room(data_dir: Path) -> None:
    """Remove an earlier demo; refuse where something else than a demo has left its history."""
    from isams_pipeline.sandbox.demo import demo_schools  # noqa: PLC0415

    is_demo = (data_dir / DEMO_CONFIG).exists()
    schools = {path.name for place in _BY_SCHOOL for path in data_dir.glob(place)}
    has_history = bool(schools) or (data_dir / "state.sqlite").exists()
    if schools - set(demo_schools()) or (has_history and not is_demo):
        raise WrongUse(
            "The data folder holds the history of a real school",
            folder=data_dir,
            remedy="Run the demo elsewhere: isams-pipeline demo --data-dir demo-data",
        )
    for name in _OURS:
        shutil.rmtree(data_dir / name, ignore_errors=True)
    (data_dir / "state.sqlite").unlink(missing_ok=True)


def keep_apart(data_dir: Path, settings: Settings) -> None:
    """Refuse to mix: a real school in a demo's folder or its exports, a made-up school in a real one's folder."""
    config = settings.file.resolve() if settings.file else None
    here = data_dir.resolve()
    own = _own_folder(config)
    if own is not None and own != here:
        raise WrongUse(
            "schools.yaml is a sandbox's or demo's, but the data folder is another one",
            folder=data_dir,
            remedy=f"Give theirs: --data-dir {own} (or export ISAMS_DATA_DIR={own}).",
        )
    for folder in (here, *_targets(settings)):
        demo = folder / DEMO_CONFIG
        if demo.exists() and config != demo:
            raise WrongUse(
                "The folder is a demo's, and the next demo would clear it",
                folder=folder,
                remedy="Empty it, or use another one: --data-dir for the data, deliver_to for the exports.",
            )


def _own_folder(config: Path | None) -> Path | None:
    """The data folder that belongs to a schools.yaml which the sandbox wrote; None for a person's own."""
    if config is None or config.parent.name not in {"demo", SANDBOX} or not config.exists():
        return None
    from isams_pipeline.sandbox.demo import MADE_UP  # noqa: PLC0415  # a real school's command needs no sandbox

    if not config.read_text(encoding="utf-8").startswith(MADE_UP):
        return None
    return config.parent.parent if config.parent.name == "demo" else config.parent / "data"


def _targets(settings: Settings) -> list[Path]:
    """The folders around the local `deliver_to` of all schools."""
    found: list[Path] = []
    for school in settings.schools.values():
        for partner in school.partners.exporting.values():
            target = settings.resolve(partner.deliver_to)
            if "://" not in target:
                found.append(Path(target).parent)
    return found


@contextlib.contextmanager
def the_only(what: str, data_dir: Path, folder: str = "") -> Generator[None, None, None]:
    """Be the only one that serves from a data folder; raises WrongUse. The system lets go if the process dies."""
    place = data_dir / folder
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = filelock.FileLock(place / ".served", mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise WrongUse(
            f"{what} is already running on this folder",
            folder=place,
            remedy="Stop it first (Ctrl-C where it runs), or give another folder with --data-dir.",
        ) from None
    try:
        yield
    finally:
        lock.release()
