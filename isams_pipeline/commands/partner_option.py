"""The option that names a partner: which there are is looked up in the registry."""

from __future__ import annotations

from typing import Annotated

import typer

from isams_pipeline.orchestration.removal_windows import ALL
from isams_pipeline.partners.registry import exporting


def _known(name: str) -> str:
    """The name itself; wrong use with those there are."""
    if name not in exporting():
        raise typer.BadParameter(f"there is no partner {name!r}; known are {', '.join(exporting())}")
    return name


def _known_or_all(name: str) -> str:
    return name if name == ALL else _known(name)


def _beginning(incomplete: str) -> list[str]:
    return [name for name in exporting() if name.startswith(incomplete)]


_NAMES = ", ".join(exporting())
Partner = Annotated[
    str,
    typer.Option(
        "--partner", parser=_known, autocompletion=_beginning, metavar="NAME", help=f"Whose export: {_NAMES}."
    ),
]
OnePartner = Annotated[
    str | None,
    typer.Option(
        "--partner",
        parser=_known,
        autocompletion=_beginning,
        metavar="NAME",
        help="One partner. [default: all of the school]",
        show_default=False,
    ),
]
PartnerOrAll = Annotated[
    str | None,
    typer.Option(
        "--partner",
        parser=_known_or_all,
        autocompletion=_beginning,
        metavar="NAME",
        help=f"{_NAMES}, or all.",
        show_default=False,
    ),
]
