"""Photos of people: made small, without anything but the picture. Pure."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

MOST_BYTES = 12 << 20
"""Of a photo as it comes. A camera's own files are smaller."""
_MOST_PIXELS = 60_000_000
_LONGEST_SIDE = 640
_QUALITY = 85
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


class UnreadablePhoto(ValueError):
    """Bytes that are no photo, or too much of one. Its text says why, in words without values."""


def _check_pixels(picture: Image.Image) -> None:
    if picture.width * picture.height > _MOST_PIXELS:
        raise UnreadablePhoto("it has too many pixels")


def reencoded(data: bytes) -> bytes:
    """A photo as a JPEG of at most 640 pixels a side, upright, with no metadata: not where and when it was taken.

    The same bytes always give the same bytes. Raises UnreadablePhoto.
    """
    if len(data) > MOST_BYTES:
        raise UnreadablePhoto(f"it has more than {MOST_BYTES >> 20} MB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata, which goes anyway
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                _check_pixels(picture)
                upright = ImageOps.exif_transpose(picture)
                plain = upright.convert("RGB")
    except UnreadablePhoto:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UnreadablePhoto("it is no JPEG, PNG, GIF, BMP or WebP that can be read") from None
    plain.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    # A picture of its own: what Pillow keeps beside the pixels would be written along.
    fresh = Image.new("RGB", plain.size)
    fresh.paste(plain)
    fresh.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
