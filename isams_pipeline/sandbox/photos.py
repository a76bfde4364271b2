"""Made-up photos: a coloured square with two darker ones for eyes, and the metadata that a telephone leaves in them."""

from __future__ import annotations

import io
from functools import lru_cache
from random import Random

from PIL import Image

from isams_pipeline.sandbox.people import Pupil
from isams_pipeline.sandbox.school import SchoolDay

MADE_BY = "A telephone that says where it was"
_EVERY = 60
"""Days after which a pupil has a new photo, each on another day."""
_WITHOUT = 9


def photo_id(school: SchoolDay, pupil: Pupil) -> int | None:
    """The number of a pupil's newest photo; some have none."""
    if pupil.id % _WITHOUT == 0:
        return None
    return pupil.id * 100 + (school.date.toordinal() + pupil.id) // _EVERY % 100


@lru_cache(maxsize=4096)
def photo(number: int) -> bytes:
    """A photo by its number: a JPEG, larger than anybody needs, with metadata."""
    random = Random(number)  # noqa: S311  # repeatable, not secret
    colour = tuple(random.randrange(120, 256) for _ in range(3))
    picture = Image.new("RGB", (900, 1200), colour)
    for left in (250, 550):
        picture.paste((40, 40, 40), (left, 400, left + 100, 500))
    exif = Image.Exif()
    exif[0x010F] = MADE_BY
    exif[0x0112] = 1
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=60, exif=exif, comment=b"a comment")
    return buffer.getvalue()
