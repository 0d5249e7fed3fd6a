"""What a file is that cannot be opened as a video, for the hint."""

from __future__ import annotations

from pathlib import Path

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


def what_it_is(path: Path) -> str | None:
    """A hint from the first bytes of a file; ``None`` where they say nothing."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return None
    if not head.strip(b"\0"):
        return "it begins with nothing but zeros: it was not copied whole; copy it again"
    if head[4:8] == b"ftyp":
        return "the file may be incomplete: an interrupted recording lacks its index"
    kind = next((name for magic, name in _KINDS.items() if head.startswith(magic)), None)
    if kind is not None:
        return f"it is {kind}, whatever its name says"
    text = _as_text(head)
    if text is None:
        return None
    if text.lstrip().lower().startswith(_PAGES):
        return "it is a web page: the download gave a page instead of the video; look into it, and fetch it again"
    return "it is a text file, whatever its name says"


def _as_text(head: bytes) -> str | None:
    for missing in range(4):  # the last character may be cut
        try:
            text = head[: len(head) - missing].decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
        return text if all(c.isprintable() or c.isspace() for c in text) else None
    return None


__all__ = ["what_it_is"]
