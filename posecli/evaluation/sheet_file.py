"""The picture file of a contact sheet."""

from __future__ import annotations

from pathlib import Path

from posecli.atomic import check_output, write_atomic
from posecli.errors import OutputError
from posecli.records import ImageArray

SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def check_sheet(path: Path, *, overwrite: bool) -> None:
    """Refuse a file that cannot be written, before the work.

    Raises:
        OutputError: The suffix is none of `SHEET_SUFFIXES`; or see `posecli.atomic.check_output`.
    """
    if path.suffix.lower() not in SHEET_SUFFIXES:
        raise OutputError(f"{path}: cannot write {path.suffix or 'a file without suffix'}", hint="use .png")
    check_output(path, overwrite=overwrite)


def write_sheet(sheet: ImageArray, path: Path, *, overwrite: bool = False) -> None:
    """Write (H, W, 3) uint8 RGB.

    Raises:
        OutputError: See `check_sheet`.
    """
    import cv2

    check_sheet(path, overwrite=overwrite)
    is_encoded, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    if not is_encoded:
        raise OutputError(f"{path}: cannot be encoded")
    write_atomic(path, data.tobytes(), overwrite=overwrite)
