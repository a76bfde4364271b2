"""The table of errors: every type, what it is, and what to do, written from the types.

python -m isams_pipeline.commands.error_table [--check] docs/errors.md
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

from isams_pipeline import errors
from isams_pipeline.commands.dictionary import keep_page
from isams_pipeline.errors import PipelineError

_HEADING = re.compile(r"^# --- (.+?) -+$")


def error_table() -> str:
    """The page, in Markdown."""
    return "\n".join(_lines()) + "\n"


def groups() -> dict[str, list[type[PipelineError]]]:
    """The types by the part of the work that they are of, in the order in which they are written down."""
    lines = inspect.getsource(errors).splitlines()
    found: dict[str, list[type[PipelineError]]] = {}
    heading = ""
    for line in lines:
        if part := _HEADING.match(line):
            heading = part[1]
        elif named := re.match(r"class (\w+)\(", line):
            kind = getattr(errors, named[1])
            if kind is not PipelineError:
                found.setdefault(heading, []).append(kind)
    return found


def _lines() -> Iterator[str]:
    yield "# Errors"
    yield ""
    yield (
        "Written by `make docs` from `isams_pipeline/errors.py`; CI checks it. A failed step names one of these types. "
        "Its message says what happened, where (school, key, dataset, file, rows by number), and what to do; this is "
        "what helps with most of a type. Where to begin is [last night failed](last-night-failed.md)."
    )
    for part, kinds in groups().items():
        yield from ("", f"## {part[0].upper()}{part[1:]}", "")
        yield "| error | what it is | tried again by itself | what to do |"
        yield "|---|---|---|---|"
        for kind in kinds:
            about = re.sub(r"\s+", " ", inspect.cleandoc(kind.__doc__ or ""))
            yield f"| `{kind.__name__}` | {about} | {'yes' if kind.retryable else ''} | {kind.usual_remedy} |"


if __name__ == "__main__":
    sys.exit(keep_page(error_table(), __doc__))
