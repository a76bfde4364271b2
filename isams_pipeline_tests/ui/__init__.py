"""The UI behind its guard."""
