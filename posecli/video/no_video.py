"""What something is that cannot be opened as a video, for whoever has to do something about it."""

from __future__ import annotations

import os.path
from pathlib import Path

from posecli.errors import VideoError

_HEAD_BYTES = 4096
_KINDS = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF document",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}
_PAGES = ("<!doctype html", "<html")


def check_file(path: Path) -> None:
    """Raise unless a path leads to a file.

    Raises:
        VideoError: It leads nowhere, or to something that could be read for ever, such as a pipe.
    """
    if os.path.isfile(path):  # unlike that of Path, it takes any name
        return
    if os.path.lexists(path) and not os.path.exists(path):
        raise VideoError(
            f"{path}: is a link to {os.readlink(path)}, where there is nothing",
            hint="the video may lie on a disk that is not connected, or was moved",
        )
    if not os.path.exists(path):
        raise VideoError(f"{path}: no such file")
    what = "a folder" if os.path.isdir(path) else "a pipe or a device"
    raise VideoError(f"{path}: is not a file but {what}", hint="give a video file")


def what_it_is(path: Path) -> str | None:
    """A hint from the first bytes of a file; ``None`` where they say nothing."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return None
    if not head.strip(b"\0"):
        return "it begins with nothing but zeros: it was not copied whole: copy it again"
    if head[4:8] == b"ftyp":
        return "it may be incomplete (an interrupted recording lacks its index): copy it again, or mend it with a tool for that"
    kind = next((name for magic, name in _KINDS.items() if head.startswith(magic)), None)
    if kind is not None:
        return f"it is {kind}, whatever its name says: take it out"
    text = _as_text(head)
    if text is None:
        return None
    if text.lstrip().lower().startswith(_PAGES):
        return "it is a web page: the download gave a page instead of the video; look into it, and fetch it again"
    return "it is a text file, whatever its name says: take it out"


def _as_text(head: bytes) -> str | None:
    for missing in range(4):  # the last character may be cut
        try:
            text = head[: len(head) - missing].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
        return text if all(c.isprintable() or c.isspace() for c in text) else None
    return None


__all__ = ["what_it_is"]
