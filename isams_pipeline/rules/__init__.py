"""Rules: pure functions on tables that keep some rows and move the others, each with a reason. No Dagster, no I/O."""

from typing import TYPE_CHECKING

from isams_pipeline.moved import found_elsewhere

if not TYPE_CHECKING:  # who checks types sees what is there

    def __getattr__(name: str) -> object:
        """Names of before, with a warning."""
        return found_elsewhere(__name__, name)
