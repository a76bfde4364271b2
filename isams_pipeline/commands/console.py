"""What a person reads at the terminal: nothing in it is markup, and nothing in it controls the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from isams_pipeline.rules.texts import visible


class _Console(Console):
    """Prints texts as they are: nothing in them is markup, and nothing in them controls the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


console = _Console(highlight=False, markup=False, emoji=False)
Part = str | tuple[str, str] | Text


def say(*parts: Part, end: str = "\n") -> None:
    """Print a sentence, some parts of it in a style: `say(("Refused", "red"), ": it has no id")`."""
    console.print(Text.assemble(*parts), soft_wrap=True, end=end)
