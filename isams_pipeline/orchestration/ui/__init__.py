"""The Dagster UI behind a guard: who may ask, from where, and how."""
