"""Photos of people: made small, without anything but the picture. Pure."""

from __future__ import annotations

import io
import warnings

from PIL import Image

MOST_BYTES = 12 << 20
"""Of a photo as it comes. A camera's own files are smaller."""
_MOST_PIXELS = 60_000_000
_LONGEST_SIDE = 640
_QUALITY = 85
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation → what sets a picture upright."""


class UnreadablePhoto(ValueError):
    """Bytes that are no photo, or too much of one. Its text says why, in words without values."""


def _check_pixels(picture: Image.Image) -> None:
    if picture.width * picture.height > _MOST_PIXELS:
        raise UnreadablePhoto("it has too many pixels")


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in three colours of 8 bits: what is transparent is white."""
    if picture.mode.startswith("I"):  # 16 bits of grey: Pillow would cut them off instead of scaling them
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """How to set a picture upright. Metadata that cannot be read says nothing: it is the picture that counts."""
    try:
        return _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  # of odd metadata Pillow raises what comes
        return None


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
                turn = _turn(picture)
                plain = _plain(picture)
    except UnreadablePhoto:
        raise
    except (Exception, MemoryError):  # noqa: BLE001  # of bytes from outside Pillow raises what comes
        raise UnreadablePhoto("it is no JPEG, PNG, GIF, BMP or WebP that can be read") from None
    plain.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    if turn is not None:
        plain = plain.transpose(turn)
    buffer = io.BytesIO()
    # A picture of its own: what Pillow keeps beside the pixels would be written along.
    fresh = Image.new("RGB", plain.size)
    fresh.paste(plain)
    fresh.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
