"""The source: reads iSAMS, and knows nothing of the partners."""
