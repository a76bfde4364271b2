"""Everything Dagster that is not a partner's: source assets, runs, checks, partitions, connections, reconciliation."""
