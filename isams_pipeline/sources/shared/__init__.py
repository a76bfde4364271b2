"""The sources of a school's data besides iSAMS's own API: what Assembly and Xporter on Demand have in common."""

ASSEMBLY, XPORTER = "assembly", "xporter"
LABELS = {"isams": "iSAMS", ASSEMBLY: "Assembly", XPORTER: "Xporter on Demand"}
"""Source → what a person calls it."""
REPORTS = "sources"
"""Where reconciliations lie, below `reports/`."""
OLD_REPORTS = "roads"
"""Where they lay before; a purge knows that too."""
