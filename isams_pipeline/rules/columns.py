"""Columns of tables, by a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import pandas as pd

Column: TypeAlias = "pd.Series[Any]"
"""A column of whichever type."""
