"""SchoolBooking: people, groups, rooms and the timetable on dates, by whichever road the school has; every night."""

PARTNER = "schoolbooking"
