"""SchoolsBuddy's attendance: the morning's and the afternoon's registers, from iSAMS as they are at that moment."""
