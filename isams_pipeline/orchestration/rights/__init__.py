"""People's rights: what is held of a person, who got it, and its erasure."""
