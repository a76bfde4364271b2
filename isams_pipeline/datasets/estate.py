"""EstateManager: buildings and rooms."""

from __future__ import annotations

from isams_pipeline.datasets.declare import Dataset, column


class Buildings(Dataset):
    """Buildings. One row per building."""

    feed = "estates"
    rows = "EstateManager/Buildings/Building"

    building_id: int = column("@Id", "iSAMS's number of the building", key=True)
    name: str | None = column("Name", "Name")
    code: str | None = column("Initials", "Short name")
    description: str | None = column("Description", "Free text")


class Rooms(Dataset):
    """Rooms, which iSAMS calls classrooms. One row per room."""

    feed = "estates"
    rows = "EstateManager/Buildings/Building/Classrooms/Classroom"

    room_id: int = column("@Id", "iSAMS's number of the room", key=True)
    building_id: int = column("../../@Id", "Its building")
    name: str | None = column("Name", "Name")
    initials: str | None = column("Initials", "Short name")
    code: str | None = column("Code", "Code")
    description: str | None = column("Description", "Free text")
