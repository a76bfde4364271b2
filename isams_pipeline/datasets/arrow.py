"""pyarrow, which has no type information: typed as Any in this one place instead of ignored in many."""

from __future__ import annotations

from typing import Any

import pyarrow  # noqa: ICN001 # pyright: ignore[reportMissingTypeStubs]
import pyarrow.compute  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]

pa: Any = pyarrow
pc: Any = pyarrow.compute
pq: Any = pyarrow.parquet

Array = Any
DataType = Any
Schema = Any
Table = Any
