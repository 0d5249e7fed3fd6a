"""The largest pictures accepted: a header of a few bytes may claim any size, and memory follows what it claims."""

from __future__ import annotations

from pathlib import Path

from posecli.errors import VideoError

MAX_SIDE_PX = 16_384

MAX_PIXELS = 16_384 * 8_192
"""Room for 16K video (15,360 x 8,640 is 132.7 million), a quarter more than a 100-megapixel camera; 402 MB a frame."""


def check_size(path: Path, width_px: int, height_px: int) -> None:
    """Refuse pictures that are too large.

    Args:
        path: Named in the error.
        width_px: As the header says.
        height_px: As the header says.

    Raises:
        VideoError: A side is longer than `MAX_SIDE_PX`, or there are more pixels than `MAX_PIXELS`.
    """
    if max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_PIXELS:
        limit = f"{MAX_SIDE_PX:,} a side and {MAX_PIXELS / 1e6:.0f} million pixels"
        what = f"{path}: pictures of {width_px} x {height_px} px, posecli reads up to {limit}"
        raise VideoError(what, hint="the header may be damaged; if the size is right, scale it down first")


__all__ = ["MAX_PIXELS", "MAX_SIDE_PX", "check_size"]
