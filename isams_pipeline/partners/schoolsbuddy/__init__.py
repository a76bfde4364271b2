"""SchoolsBuddy: students, contacts, staff, classes, houses; every night."""

PARTNER = "schoolsbuddy"
