"""What sources have in common: HTTP, tables as values, and the reading of lists (Assembly, Xporter on Demand)."""

ASSEMBLY, XPORTER = "assembly", "xporter"
REPORTS = "sources"
"""Where reconciliations lie, below `reports/`."""
OLD_REPORTS = "roads"
"""Where they lay before; a purge knows that too."""
