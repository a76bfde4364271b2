"""The comparison of all of a school's sources: what they say, a picture of it, and its asset."""
