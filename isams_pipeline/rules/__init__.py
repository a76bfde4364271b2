"""Rules: pure functions on tables that keep some rows and move the others, each with a reason. No Dagster, no I/O."""

from isams_pipeline.rules.split import Exclusions, Split

__all__ = ["Exclusions", "Split"]
