"""Images and folders of images: flipped, cut, misnamed, claiming sizes beyond memory."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache

import cv2
import numpy as np

from tests.hostile.hostile_case import Case, Places
from tests.hostile.hostile_mutation import SEED, flip_bits
from tests.hostile.hostile_videos import read_all


def cases() -> list[Case]:
    """About 110."""
    return [*_spoilt(), *_huge(), *_odd(), *_folders()]


@cache
def good() -> dict[str, bytes]:
    """One image of each kind."""
    picture = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    picture = cv2.GaussianBlur(picture, (9, 9), 3).astype(np.uint8)
    return {suffix: cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".png", ".jpg", ".bmp", ".webp", ".tif")}


def _case(kind: str, name: str, suffix: str, data: bytes, *, must_refuse: bool = False) -> Case:
    def run(places: Places) -> None:
        path = places.inside / f"hostile{suffix}"
        path.write_bytes(data)
        read_all(path)

    return Case(kind, name, run, "hostile", must_refuse)


def _spoilt() -> list[Case]:
    rng = random.Random(SEED)
    found = []
    for suffix, data in good().items():
        for k in range(8):
            within = (0, 60) if k % 2 else None
            flipped = flip_bits(data, rng, 1 + 3 * k, within=within)
            found.append(_case("images, bits flipped", f"{suffix} {k}", suffix, flipped))
        for share in (0, 1, 4, 7):
            found.append(_case("images, cut off", f"{suffix} at {share}/8", suffix, data[: len(data) * share // 8]))
    pairs = zip(good().items(), (".jpg", ".bmp", ".tif", ".png", ".webp"), strict=True)
    found += [_case("images, wrong suffix", f"{own} as {other}", other, data) for (own, data), other in pairs]
    for name, data in (
        ("text", b"no image\n" * 99),
        ("zeros", bytes(999)),
        ("page", b"<html>"),
        ("video", b"RIFF    AVI "),
    ):
        found.append(_case("images, wrong suffix", name, ".png", data, must_refuse=True))
    return found


def _png(width: int, height: int, *, depth: int = 8, colour: int = 2, data: bytes | None = None) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = zlib.compress(bytes(200_000) if data is None else data)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _huge() -> list[Case]:
    jpeg, bmp, webp, tif = (good()[suffix] for suffix in (".jpg", ".bmp", ".webp", ".tif"))
    frame = next(place for place in (jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) if place >= 0)
    files: dict[str, tuple[str, bytes]] = {
        **{
            f"PNG {w} x {h}": (".png", _png(w, h))
            for w, h in ((65_535, 65_535), (16_384, 16_384), (2**31 - 1, 1), (1, 2**31 - 1))
        },
        "JPEG 65500 x 65500": (".jpg", jpeg[: frame + 5] + struct.pack(">HH", 65_500, 65_500) + jpeg[frame + 9 :]),
        "JPEG 16k x 16k": (".jpg", jpeg[: frame + 5] + struct.pack(">HH", 16_384, 16_384) + jpeg[frame + 9 :]),
        "BMP 30000 x 30000": (".bmp", bmp[:18] + struct.pack("<ii", 30_000, 30_000) + bmp[26:]),
        "BMP 2^31": (".bmp", bmp[:18] + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bmp[26:]),
        "BMP upside down": (".bmp", bmp[:18] + struct.pack("<ii", 30_000, -30_000) + bmp[26:]),
        "WebP canvas of 2^24": (".webp", _webp_canvas(2**24, 2**24)),
        "WebP 16383 x 16383": (".webp", _webp_size(webp)),
        "TIFF 60000 x 60000": (".tif", _tiff_size(tif, 60_000, 60_000)),
        "TIFF 2^32": (".tif", _tiff_size(tif, 2**32 - 1, 2**32 - 1)),
        "a grey map of 30000 x 30000": (".png", b"P5\n30000 30000\n255\n" + bytes(500)),
        "a colour map of 10^9": (".png", b"P6\n1000000000 1000000000\n255\n" + bytes(500)),
        "radiance of 30000 x 30000": (
            ".png",
            b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n" + bytes(500),
        ),
        "a sun raster of 30000 x 30000": (
            ".png",
            struct.pack(">8I", 0x59A66A95, 30_000, 30_000, 24, 0, 1, 0, 0) + bytes(500),
        ),
    }
    return [
        _case("images, huge size claimed", name, suffix, data, must_refuse=True)
        for name, (suffix, data) in files.items()
    ]


def _webp_canvas(width: int, height: int) -> bytes:
    body = (
        b"WEBPVP8X"
        + struct.pack("<II", 10, 0x02)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_size(data: bytes) -> bytes:
    place = data.find(b"\x9d\x01\x2a")
    if place >= 0:
        return data[: place + 3] + struct.pack("<HH", 16_383, 16_383) + data[place + 7 :]
    place = data.index(b"VP8L") + 9
    return data[:place] + struct.pack("<I", 0x0FFFFFFF) + data[place + 4 :]


def _tiff_size(data: bytes, width: int, height: int) -> bytes:
    changed = bytearray(data)
    (start,) = struct.unpack_from("<I", data, 4)
    for k in range(struct.unpack_from("<H", data, start)[0]):
        place = start + 2 + 12 * k
        if (tag := struct.unpack_from("<H", data, place)[0]) in (256, 257):
            struct.pack_into("<HHII", changed, place, tag, 4, 1, width if tag == 256 else height)
    return bytes(changed)


def _odd() -> list[Case]:
    tif = good()[".tif"]
    jpeg = good()[".jpg"]
    loop = bytearray(tif)
    (start,) = struct.unpack_from("<I", tif, 4)
    (count,) = struct.unpack_from("<H", tif, start)
    struct.pack_into("<I", loop, start + 2 + 12 * count, start)
    exif = (
        b"\xff\xe1" + struct.pack(">H", 40) + b"Exif\0\0II*\0" + struct.pack("<IHHHIIII", 8, 1, 0x0112, 3, 1, 99, 0, 0)
    )
    files = {
        "PNG 1 x 1": (".png", _png(1, 1)),
        "PNG 16 bit": (".png", _png(64, 48, depth=16)),
        "PNG with alpha": (".png", _png(64, 48, colour=6)),
        "PNG gray with alpha": (".png", _png(64, 48, colour=4)),
        "PNG gray": (".png", _png(64, 48, colour=0)),
        "PNG of a bit": (".png", _png(64, 48, depth=1, colour=0)),
        "PNG of palette without palette": (".png", _png(64, 48, colour=3)),
        "PNG 0 x 0": (".png", _png(0, 0)),
        "PNG 8000 x 8000 of nothing": (".png", _png(8000, 8000)),
        "TIFF whose pages lead back": (".tif", bytes(loop)),
        "JPEG turned by 99": (".jpg", jpeg[:2] + exif.ljust(42, b"\0") + jpeg[2:]),
        "JPEG of a thousand marks": (".jpg", jpeg[:2] + b"\xff\xe0\x00\x04xx" * 1000 + jpeg[2:]),
        "JPEG whose marks have no length": (".jpg", jpeg[:2] + b"\xff\xe0\x00\x00" + jpeg[2:]),
    }
    return [_case("images, odd", name, suffix, data) for name, (suffix, data) in files.items()]


def _folders() -> list[Case]:
    png, jpg = good()[".png"], good()[".jpg"]
    small = _png(8, 8)
    contents: dict[str, dict[str, bytes]] = {
        "sizes change": {"1.png": png, "2.png": small, "3.png": png},
        "one is broken": {"1.png": png, "2.png": png[:100], "3.jpg": jpg},
        "the first is broken": {"1.png": b"", "2.png": png},
        "all are broken": {"1.png": b"", "2.png": b"x"},
        "one is huge": {"1.png": png, "2.png": _png(60_000, 60_000)},
        "names of digits without end": {"9" * 200 + ".png": png, "1" * 250 + ".png": png},
        "names of digits of other kinds": {"1²3.png": png, "٣.png": png, "①.png": png, "²": png},
        "no images": {"a.txt": b"x"},
        "nothing": {},
        "hidden ones": {".1.png": png},
    }

    def folder(name: str) -> Case:
        def run(places: Places) -> None:
            path = places.inside / "hostile"
            path.mkdir()
            for file, data in contents[name].items():
                (path / file).write_bytes(data)
            read_all(path)

        return Case("folders of images", name, run, "hostile")

    def linked(name: str, target: str) -> Case:
        def run(places: Places) -> None:
            path = places.inside / "hostile"
            path.mkdir()
            (path / "1.png").write_bytes(png)
            (path / "2.png").symlink_to(target)
            read_all(path)

        return Case("folders of images", name, run, "hostile")

    def device(places: Places) -> None:
        path = places.inside / "hostile.png"
        path.symlink_to("/dev/zero")
        read_all(path)

    links = {
        "a link to itself": "2.png",
        "a link to nothing": "gone.png",
        "a link to a device": "/dev/zero",
        "a link up": "..",
    }
    endless = Case("folders of images", "a device without end", device, "hostile", must_refuse=True)
    return [endless, *map(folder, contents), *(linked(name, target) for name, target in links.items())]
