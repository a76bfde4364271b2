"""Delivery: staged → checked → promoted → receipt. Knows no partner and no Dagster."""
