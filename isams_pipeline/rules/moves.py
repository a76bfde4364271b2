"""Which states lead to which: one table for each thing that has states. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True)
class Moves(Generic[S]):
    """The moves that are allowed: state → the states that may follow. A state that is no key is an end."""

    table: Mapping[S, frozenset[S]]
    first: S
    """The state in which everything begins."""

    def allows(self, now: S, then: S) -> bool:
        """Whether a state may follow another; staying is no move."""
        return then == now or then in self.table.get(now, frozenset())

    def check(self, now: S, then: S) -> None:
        """Raise ValueError for a move that is not in the table: a fault of the code that makes it."""
        if not self.allows(now, then):
            raise ValueError(f"{now} does not lead to {then}")

    def drawn(self) -> str:
        """The table as a Mermaid state diagram."""
        lines = [f"  {now} --> {then}" for now in self.table for then in sorted(self.table[now])]
        return "\n".join(["```mermaid", "stateDiagram-v2", f"  [*] --> {self.first}", *lines, "```"])
