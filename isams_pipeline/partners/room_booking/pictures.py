"""Pictures to look at: a week of a room, and a term's occupancy of all rooms. No person stands in them.

Pure but for `draw`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd

from isams_pipeline.datasets.shapes import Json
from isams_pipeline.errors import StorageError
from isams_pipeline.rules.clock_times import time_in_words
from isams_pipeline.rules.texts import label
from isams_pipeline.storage.folder import Folder

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_COLOURS = {"lesson": "#bcd4e6", "meeting": "#f2d7b6", "year_schedule": "#d9e6bc", "tutorial": "#e3cfe8"}
_INK = "#20303c"
DRAWN_AS = "1"
"""Part of every picture's hash: a new way of drawing makes all of them anew."""
_NOTE = "pictures.json"


@dataclass(frozen=True)
class Picture:
    """One picture: all that it is made of as a hash, and how to draw it."""

    digest: str
    draw: Callable[[], bytes]


def draw(folder: Folder, night: date, pictures: Mapping[str, Picture]) -> dict[str, bytes]:
    """Put a night's pictures into its folder, `<date>/<name>.png`; what has not changed is not drawn again.

    A note says what the last ones were made of. Where their file is gone or another, they are drawn.
    """
    try:
        note: Json = folder.read_json(_NOTE)
    except (FileNotFoundError, StorageError):
        note = {}
    found: dict[str, bytes] = {}
    for name, picture in pictures.items():
        data = _drawn(folder, name, note.get(name), picture.digest)
        found[name] = picture.draw() if data is None else data
        folder.write(f"{night}/{name}.png", found[name])
        note[name] = {"made of": picture.digest, "date": night.isoformat(), "sha256": _sha256(found[name])}
    folder.write_json(_NOTE, note)
    return found


def _drawn(folder: Folder, name: str, noted: Json | None, digest: str) -> bytes | None:
    """A picture as it was drawn from the same; None where there is none."""
    if noted is None or noted.get("made of") != digest:
        return None
    with contextlib.suppress(FileNotFoundError, StorageError):
        data = folder.read(f"{noted['date']}/{name}.png")
        if _sha256(data) == noted["sha256"]:
            return data
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _figure(width: float, height: float) -> Any:
    # Here, since it takes most of a second to load and only a run's night needs it; without pyplot, which keeps
    # figures for ever.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    # Else what stands between two dollars in a room's name is taken for a formula, or breaks the picture.
    mpl.rcParams["text.parse_math"] = False
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    # Without the version of the program, the same week is the same file.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def busiest_room(dated: pd.DataFrame) -> int | None:
    """The room that is used most."""
    counts = dated["room_id"].dropna().value_counts()
    return int(counts.index[0]) if len(counts) else None


def teaching_week(dated: pd.DataFrame, night: date) -> date | None:
    """The Monday of the week of a night, or of the next week in which there is something."""
    monday = night - timedelta(days=night.weekday())
    ahead = dated.loc[dated["date"] >= pd.Timestamp(monday), "date"]
    if ahead.empty:
        return None
    first = ahead.min().date()
    return first - timedelta(days=first.weekday())


def week_of_room(dated: pd.DataFrame, room_id: int, name: str, monday: date) -> bytes:
    """A room's week as a timetable: days across, the hours down, a box for each thing in it. PNG."""
    since, until = pd.Timestamp(monday), pd.Timestamp(monday + timedelta(days=7))
    rows = dated[(dated["room_id"] == room_id) & (dated["date"] >= since) & (dated["date"] < until)]
    days = 7 if rows["date"].dt.day_of_week.gt(4).any() else 5
    first = int(rows["start"].min()) // 60 * 60 if len(rows) else 480
    last = -(-int(rows["end"].max()) // 60) * 60 if len(rows) else 1020
    figure = _figure(1.6 * days + 1, 6)
    axes = figure.add_subplot()
    for row in rows.itertuples(index=False):
        at: Any = row
        day = at.date.day_of_week
        axes.barh(
            (at.start + at.end) / 2,
            0.94,
            left=day - 0.47,
            height=at.end - at.start - 2,
            color=_COLOURS.get(at.kind, "#dddddd"),
            edgecolor=_INK,
            linewidth=0.6,
        )
        text = label(at.code or at.kind.replace("_", " "), 18)
        axes.text(day, (at.start + at.end) / 2, text, ha="center", va="center", fontsize=9, color=_INK)
    axes.set_xlim(-0.5, days - 0.5)
    axes.set_ylim(last, first)
    axes.set_xticks(range(days), [f"{_DAYS[n]} {(monday + timedelta(days=n)).day}" for n in range(days)])
    axes.xaxis.tick_top()
    hours = range(first, last + 1, 60)
    axes.set_yticks(list(hours), [time_in_words(at) for at in hours])
    axes.grid(axis="y", color="#e4e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.suptitle(f"{label(name)}, week of {monday.day} {monday:%B %Y}", x=0.01, ha="left", fontsize=12, color=_INK)
    return _png(figure)


def occupancy(dated: pd.DataFrame, names: Mapping[int, str], term: str, first: date, last: date) -> bytes:
    """A term's occupancy: a row a room, a column a weekday's time of day, darker the more often it is used. PNG."""
    here = dated[(dated["date"] >= pd.Timestamp(first)) & (dated["date"] <= pd.Timestamp(last))]
    used = here[here["room_id"].notna()]
    weekday = used["date"].dt.day_of_week
    counts: dict[Any, int] = used.groupby(["room_id", weekday, "start"])["date"].nunique().to_dict()
    dates: Any = here.loc[~here["date"].duplicated(), "date"]
    days: dict[int, int] = dates.dt.day_of_week.value_counts().to_dict()
    weekdays = sorted(days)
    starts = sorted({int(at) for at in used["start"]})
    columns = [(day, start) for day in weekdays for start in starts]
    rooms = sorted(names, key=lambda room: _natural(names[room]))
    share = [[float(counts.get((room, day, start), 0)) / float(days[day]) for day, start in columns] for room in rooms]
    figure = _figure(max(7.0, 0.22 * len(columns) + 2.5), max(2.6, 0.24 * len(rooms) + 1.6))
    axes = figure.add_subplot()
    image = axes.imshow(share or [[0.0]], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(rooms)), [label(names[room]) for room in rooms], fontsize=8)
    axes.set_xticks(range(len(columns)), [time_in_words(start) for _, start in columns], rotation=90, fontsize=7)
    for at in range(1, len(weekdays)):
        axes.axvline(at * len(starts) - 0.5, color="white", linewidth=3)
    if starts:
        top = axes.secondary_xaxis("top")
        middles = [(n + 0.5) * len(starts) - 0.5 for n in range(len(weekdays))]
        top.set_xticks(middles, [_DAYS[day] for day in weekdays], fontsize=9)
        top.tick_params(length=0)
        top.spines["top"].set_visible(False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1], shrink=0.6, aspect=12, pad=0.01)
    bar.ax.set_yticklabels(["never", "half", "always"], fontsize=8)
    bar.outline.set_visible(False)
    figure.suptitle(f"Rooms in use, {label(term)}", x=0.01, ha="left", fontsize=12, color=_INK)
    return _png(figure)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts Room 2 before Room 10."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def term_of(terms: pd.DataFrame, night: date) -> tuple[str, date, date] | None:
    """The term of a night, or the next one, or the last: its name and dates."""
    sound = terms.dropna(subset=["start_date", "finish_date"])
    sound = sound[sound["finish_date"] >= sound["start_date"]].sort_values("start_date")
    if sound.empty:
        return None
    ahead = sound[sound["finish_date"] >= pd.Timestamp(night)]
    row: Any = next((ahead if len(ahead) else sound.tail(1)).itertuples(index=False))
    year = "" if pd.isna(row.school_year) else f" {row.start_date.year}"
    return f"{row.name}{year}", row.start_date.date(), row.finish_date.date()
