"""Rules: pure functions on tables that keep some rows and move the others, each with a reason. No Dagster, no I/O."""
