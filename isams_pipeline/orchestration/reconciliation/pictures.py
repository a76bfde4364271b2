"""A picture of a reconciliation: how much of each entity two sources have alike. No person stands in it."""

from __future__ import annotations

import io
from typing import Any

from isams_pipeline.orchestration.reconciliation.reconciling import Reconciliation
from isams_pipeline.rules.reconciliation import ONLY_FIRST, ONLY_SECOND, Compared
from isams_pipeline.sources.registry import label_of

_INK = "#20303c"
_PARTS = (
    ("alike", "#8fbf8f"),
    ("in both, but differing", "#f0c36d"),
    ("only in {first}", "#7aa6c9"),
    ("only in {second}", "#d98880"),
)


def reconciliation_picture(found: Reconciliation) -> bytes:
    """For each source beside the first, a bar an entity. PNG."""
    # Here, since it takes most of a second to load and only a run needs it; without pyplot, which keeps figures.
    from matplotlib.figure import Figure  # noqa: PLC0415

    first, sources = found.first, list(found.sources)
    figure: Any = Figure(figsize=(5.6 * len(sources) + 0.6, 4.2), dpi=110, layout="constrained")
    for at, source in enumerate(sources):
        axes = figure.add_subplot(1, len(sources), at + 1)
        names = [one.entity for one in found.sources[source]]
        left = [0.0] * len(names)
        for part, (label, colour) in enumerate(_PARTS):
            widths = [_share(one, part) for one in found.sources[source]]
            axes.barh(
                names,
                widths,
                left=left,
                color=colour,
                label=label.format(first=label_of(first), second=label_of(source)),
            )
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for row, one in enumerate(found.sources[source]):
            some = len(one.differences)
            text = f"{one.first} / {one.second}" + (f"   {some} difference{'s' if some > 1 else ''}" if some else "")
            axes.text(0.01, row, text, va="center", fontsize=8.5, color=_INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xticks([])
        axes.set_title(f"{label_of(first)} / {label_of(source)}", fontsize=11, color=_INK)
        for side in ("top", "right", "bottom", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _share(one: Compared, part: int) -> float:
    """A part's share of all that either source has."""
    only_first, only_second = one.count(ONLY_FIRST), one.count(ONLY_SECOND)
    whole = one.first + only_second or 1
    sizes = (one.first - only_first - one.differing, one.differing, only_first, only_second)
    return sizes[part] / whole
