"""How large an image says it is, read off its first bytes: memory follows what it says, and OpenCV believes it up to a gigapixel."""

from __future__ import annotations

import struct

_NO_FRAMES = {0xC4, 0xC8, 0xCC}  # markers of JPEG among those of frames that are none
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


def still_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, JPEG, BMP, WebP or TIFF file; ``None`` when it is none of these, or broken."""
    head = bytes(data[:16])
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return _unpack(">II", data, 16)
        if head.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if head.startswith(b"BM"):
            return _bmp_size(data)
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _webp_size(data)
        if head[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_size(data, "<" if head.startswith(b"II") else ">")
    except struct.error:  # shorter than its kind requires
        return None
    return None


def _unpack(form: str, data: bytes | memoryview, place: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, data, place)
    return first, second


def _jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """That of the first frame header (ITU-T T.81, B.2.2)."""
    place = 2
    while True:
        mark, kind = _unpack("BB", data, place)
        if mark != 0xFF:
            return None
        if kind == 0xFF:  # filling
            place += 1
        elif kind == 0x01 or 0xD0 <= kind <= 0xD8:  # marks that stand alone
            place += 2
        elif 0xC0 <= kind <= 0xCF and kind not in _NO_FRAMES:
            height, width = _unpack(">HH", data, place + 5)
            return width, height
        else:
            place += 2 + max(2, *struct.unpack_from(">H", data, place + 2))


def _bmp_size(data: bytes | memoryview) -> tuple[int, int]:
    (length,) = struct.unpack_from("<I", data, 14)
    width, height = _unpack("<HH" if length == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _webp_size(data: bytes | memoryview) -> tuple[int, int] | None:
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        (width,), (height,) = (struct.unpack("<I", bytes(data[place : place + 3]) + b"\0") for place in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8 ":
        width, height = _unpack("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _tiff_size(data: bytes | memoryview, order: str) -> tuple[int, int] | None:
    """That of the first page."""
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    found = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = _unpack(f"{order}HH", data, place)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place + 8)
    return (found[_TIFF_WIDTH], found[_TIFF_HEIGHT]) if len(found) == 2 else None


__all__ = ["still_size"]
