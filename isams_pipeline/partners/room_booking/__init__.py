"""Room Booking: rooms, the timetable on real dates, terms, and the bookings that clash; every day."""

PARTNER = "room_booking"
UNASSIGNED = "Unassigned"
"""The category of rooms that matched no resource; hidden from bookers."""
