"""Video files: flipped, cut, misnamed, and lying about size, rate, time and turn; read from the first frame to the last."""

from __future__ import annotations

import itertools
import math
import random
import re
import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from posecli.video.source import open_source, probe
from tests.hostile.hostile_case import Case, Places
from tests.hostile.hostile_footage import (
    NUM_FRAMES,
    empty_frames,
    footage,
    h264_of_size,
    kinds,
    mkv_times,
    no_frames,
    patch_box,
    patch_jpegs,
    patch_vp8,
    y4m,
)
from tests.hostile.hostile_mutation import SEED, flip_bits

MAX_FRAMES = 2000
File = tuple[str, bytes]


def cases() -> list[Case]:
    """About 330."""
    made = [*_flipped(), *_cut(), *_misnamed(), *_no_videos(), *_sizes(), *_rates(), *_times(), *_turns(), *_joined()]
    made += [*_formats(), *_sounds()]
    found = [_case(kind, name, data, suffix, must_refuse=is_hopeless) for kind, name, suffix, data, is_hopeless in made]
    return found + [_left_early(name, data) for name, data in kinds().items()]


def _case(kind: str, name: str, data: bytes, suffix: str, *, must_refuse: bool) -> Case:
    def run(places: Places) -> None:
        path = places.inside / f"hostile{suffix}"
        path.write_bytes(data)
        read_all(path)

    return Case(kind, name, run, "hostile", must_refuse)


def read_all(path: Path) -> int:
    """Read a video as ``info --count`` does, then a part of it; what comes must be what frames are."""
    info = probe(path)
    with open_source(path, num_threads=1) as source:
        assert source.info == info
        latest_s, count = -math.inf, 0
        for frame in itertools.islice(source.frames(), MAX_FRAMES):
            assert frame.image.shape == (info.height_px, info.width_px, 3) and frame.image.dtype == np.uint8
            assert math.isfinite(frame.time_s) and frame.time_s > latest_s and frame.index == count
            assert frame.pts is None or abs(frame.pts) < 2**63
            latest_s, count = frame.time_s, count + 1
        assert count < MAX_FRAMES
        assert all("\n" not in warning for warning in source.warnings)
    with open_source(path, start_s=0.15, end_s=0.3, num_threads=2) as source:
        for frame in source.frames():
            assert 0.15 <= frame.time_s < 0.3
    return count


def _left_early(name: str, data: bytes) -> Case:
    """Readers that stop in the middle: the decoder's threads are still at work then."""

    def run(places: Places) -> None:
        path = places.inside / f"hostile{Path(name).suffix}"
        path.write_bytes(data)
        for k in range(30):
            with open_source(path, num_threads=2) as source:
                for frame in itertools.islice(source.frames(), k % 6):
                    assert frame.status == "ok"

    return Case("left early, again and again", name, run, "hostile")


Made = tuple[str, str, str, bytes, bool]


def _flipped() -> list[Made]:
    rng = random.Random(SEED)
    found: list[Made] = []
    for name, data in kinds().items():
        suffix = Path(name).suffix
        for count in (1, 8, 64, 512):
            found.append(("bits flipped", f"{name}: {count}", suffix, flip_bits(data, rng, count), False))
        for k in range(2):
            flipped = flip_bits(data, rng, 1 + k * 4, within=(0, min(len(data), 600)))
            found.append(("bits flipped", f"{name}: head {k}", suffix, flipped, False))
        tail = (max(0, len(data) - 900), len(data))
        found.append(("bits flipped", f"{name}: tail", suffix, flip_bits(data, rng, 4, within=tail), False))
    return found


def _cut() -> list[Made]:
    found: list[Made] = []
    for name, data in kinds().items():
        for share in (0.0, 0.01, 0.3, 0.9):
            part = data[: int(len(data) * share)]
            found.append(("cut off", f"{name}: {share:.0%}", Path(name).suffix, part, not part))
        hole = data[: len(data) // 3] + data[len(data) // 2 :]
        found.append(("cut off", f"{name}: hole", Path(name).suffix, hole, False))
    return found


def _misnamed() -> list[Made]:
    suffixes = [".mkv", ".avi", ".mp4", ".webm", ".mpg", ".gif", ".264", ".m3u8", ".wmv", "", ".y4m", ".mov", ".ts"]
    pairs = zip(kinds().items(), itertools.cycle(suffixes), strict=False)
    return [("wrong suffix", f"{name} as {suffix or 'nothing'}", suffix, data, False) for (name, data), suffix in pairs]


def _no_videos() -> list[Made]:
    rng = random.Random(SEED)
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
    contents: dict[str, bytes] = {
        "nothing": b"",
        "a byte": b"\x00",
        "zeros": bytes(50_000),
        "noise": rng.randbytes(50_000),
        "a text": b"this is no video\n" * 200,
        "a page": b"<!doctype html><html><body>404</body></html>",
        "JSON": b'{"frames": []}',
        "a program": Path(sys.executable).resolve().read_bytes()[:20_000],
        "an archive": b"PK\x03\x04" + bytes(2000),
        "a playlist of a secret": playlist.format("/etc/passwd").encode(),
        "a playlist of an address": playlist.format("http://127.0.0.1:9/x.ts").encode(),
        "a playlist of itself": playlist.format("hostile.m3u8").encode(),
        "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\nfile hostile.mp4\n",
        "a session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "a head of mp4": b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2",
        "a box of 2^63 bytes": b"\x00\x00\x00\x01mdat" + struct.pack(">Q", 2**63 - 1) + bytes(100),
        "boxes in boxes": b"".join(struct.pack(">I", 8 * (3000 - k)) + b"moov" for k in range(3000)),
        "a head of AVI": b"RIFF" + struct.pack("<I", 2**32 - 1) + b"AVI LIST" + bytes(300),
        "a head of Matroska": b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(200),
        "no frames, mp4": no_frames(".mp4"),
        "no frames, mkv": no_frames(".mkv"),
        "no frames, avi": no_frames(".avi", "mpeg4"),
        "no frames, y4m": y4m("W64 H48 F25:1", 0),
    }
    return [
        ("no video", name, ".m3u8" if "itself" in name else ".mp4", data, "frames" in name or len(data) < 2)
        for name, data in contents.items()
    ]


def _sizes() -> list[Made]:
    found: list[Made] = []
    for width, height in ((1, 1), (1, 64), (64, 1), (3, 5), (2, 2), (1, 2000), (2000, 1)):
        raw = footage(".mov", codec="png", size=(width, height), pixel_format="rgb24", num_frames=4)
        found.append(("tiny pictures", f"PNG {width}x{height}", ".mov", raw, False))
    for width, height in ((2, 2), (2, 1000), (16, 16)):
        found.append(("tiny pictures", f"H.264 {width}x{height}", ".mp4", footage(".mp4", size=(width, height)), False))
    jpeg, gif, good = kinds()["JPEG.avi"], kinds()["frames.gif"], kinds()["H.264.mp4"]
    huge: dict[str, tuple[str, bytes]] = {
        **{
            f"y4m {w}x{h}": (".y4m", y4m(f"W{w} H{h} F25:1"))
            for w, h in ((16_384, 16_384), (100_000, 100_000), (2**31, 2), (16_385, 2))
        },
        "H.264 16k x 16k": (".264", h264_of_size(1024, 1024)),
        "H.264 1 Mpx x 16": (".264", h264_of_size(65_000, 1)),
        "JPEG 65500 x 65500": (".avi", patch_jpegs(jpeg, 65_500, 65_500)),
        "JPEG 16k x 16k": (".avi", patch_jpegs(jpeg, 16_384, 16_384)),
        "VP8 16383 x 16383": (".webm", patch_vp8(kinds()["VP8.webm"], 16_383, 16_383)),
        "GIF 65535 x 65535": (".gif", gif[:6] + struct.pack("<HH", 65_535, 65_535) + gif[10:]),
    }
    found += [("huge pictures claimed", name, suffix, data, True) for name, (suffix, data) in huge.items()]
    lies: dict[str, bytes] = {
        f"mp4 says {w}x{h}": patch_box(good, b"avc1", 24, struct.pack(">HH", w, h), which=-1)
        for w, h in ((65_535, 65_535), (0, 0))
    }
    lies["track of 2^31"] = patch_box(good, b"tkhd", 76, struct.pack(">II", 2**31, 2**31))
    found += [("huge pictures claimed", name, ".mp4", data, False) for name, data in lies.items()]
    later = patch_jpegs(jpeg, 65_500, 65_500, first=4)
    return [*found, ("huge pictures claimed", "JPEG, the fifth", ".avi", later, False)]


def _rates() -> list[Made]:
    good, avi = kinds()["H.264.mp4"], kinds()["MPEG-4.avi"]
    files: dict[str, File] = {
        **{f"{n} a second, mp4": (".mp4", footage(".mp4", fps=n)) for n in (10**6, 240, 1)},
        "a frame in a thousand seconds": (".mkv", footage(".mkv", fps=Fraction(1, 1000))),
        **{
            f"y4m F{rate}": (".y4m", y4m(f"W64 H48 F{rate}"))
            for rate in ("1000000:1", "1:1000000", "0:0", "0:1", "1:0", "-5:1", "4294967295:1")
        },
        **{
            f"timescale {n}": (".mp4", patch_box(good, b"mdhd", 12, struct.pack(">I", n)))
            for n in (0, 1, 2**31, 2**32 - 1)
        },
        **{f"length {n}": (".mp4", patch_box(good, b"mdhd", 16, struct.pack(">I", n))) for n in (0, 2**31, 2**32 - 1)},
        **{
            f"step {n}": (".mp4", patch_box(good, b"stts", 12, struct.pack(">I", n)))
            for n in (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
        },
        **{
            f"steps of {n} frames": (".mp4", patch_box(good, b"stts", 8, struct.pack(">I", n)))
            for n in (0, 10**6, 2**32 - 1)
        },
        **{
            f"{n} sizes": (".mp4", patch_box(good, b"stsz", 8, struct.pack(">I", n)))
            for n in (0, 10**6, 2**28, 2**32 - 1)
        },
        "sizes of 2^31": (".mp4", patch_box(good, b"stsz", 4, struct.pack(">I", 2**31))),
        **{f"{n} chunks": (".mp4", patch_box(good, b"stco", 4, struct.pack(">I", n))) for n in (0, 2**28)},
        "chunks beyond the end": (".mp4", patch_box(good, b"stco", 8, struct.pack(">I", 2**32 - 1))),
        "AVI without rate": (".avi", patch_box(avi, b"strh", 24, struct.pack("<II", 0, 0))),
        "AVI of 4 GHz": (".avi", patch_box(avi, b"strh", 24, struct.pack("<II", 1, 2**32 - 1))),
        "AVI of one frame an age": (".avi", patch_box(avi, b"strh", 24, struct.pack("<II", 2**31, 1))),
    }
    return [("rates and tables that lie", name, suffix, data, False) for name, (suffix, data) in files.items()]


def _times() -> list[Made]:
    mkv = footage(".mkv", codec="ffv1", num_frames=NUM_FRAMES)
    steps: dict[str, list[int]] = {
        "decreasing": list(range(360, 0, -40)),
        "all equal": [0] * NUM_FRAMES,
        "in pairs": [k // 2 * 80 for k in range(NUM_FRAMES)],
        "to and fro": [k * 40 if k % 2 else 32_000 - k * 40 for k in range(NUM_FRAMES)],
        "before the beginning": [-32_000 + k for k in range(NUM_FRAMES)],
        "a jump": [*range(0, 200, 40), 32_000, *range(240, 400, 40)],
    }
    files: dict[str, File] = {name: (".mkv", mkv_times(mkv, times)) for name, times in steps.items()}
    tag = re.search(rb"DURATIOND.{2}(\d\d:[\d:.]+)", mkv, re.DOTALL)
    assert tag is not None
    for word in (b"aa:bb:cc", b"00:00:1e99999999", b"-9:-9:-9", b"00:00:nan", b"1/0:0:0", b"::", b"\xff\xfe"):
        filled = word.ljust(tag.end(1) - tag.start(1), b"\0")
        files[f"a length of {word!r}"] = (".mkv", mkv[: tag.start(1)] + filled + mkv[tag.end(1) :])
    good = footage(".mp4", b_frames=2)
    place = good.find(b"ctts")
    rng = random.Random(SEED)
    if place >= 0:
        count = struct.unpack(">I", good[place + 8 : place + 12])[0]
        for k in range(4):
            values = b"".join(struct.pack(">Ii", 1, rng.randrange(-(2**31), 2**31)) for _ in range(count))
            files[f"shifts at random {k}"] = (".mp4", good[: place + 12] + values + good[place + 12 + len(values) :])
    for k, when in enumerate((2**31 - 1, -(2**31), -1, 10**6)):
        files[f"beginning at {when}"] = (
            ".mp4",
            patch_box(good, b"elst", 12, struct.pack(">i", when)) if b"elst" in good else good,
        )
        start = footage(".ts", muxer_options=(("output_ts_offset", str((95_443, 10_000, 0, 47_721)[k])),))
        files[f"a clock that runs over {k}"] = (".ts", start + footage(".ts"))
    return [("times that run wrong", name, suffix, data, False) for name, (suffix, data) in files.items()]


def _turns() -> list[Made]:
    found: list[Made] = []
    for degrees in (45, 30, 1, 89.9, 181, 720.5, -45):
        found.append(("turned oddly", f"{degrees} degrees", ".mp4", footage(".mp4", rotation_deg=degrees), False))
    found.append(
        ("turned oddly", "45 degrees, mirrored", ".mp4", footage(".mp4", rotation_deg=45, is_mirrored=True), False)
    )
    turned = footage(".mp4", rotation_deg=90)
    rng = random.Random(SEED)
    for name, matrix in (
        ("a matrix of zeros", bytes(36)),
        ("the largest numbers", b"\x7f\xff\xff\xff" * 9),
        ("the smallest numbers", b"\x80\x00\x00\x00" * 9),
        ("flat", struct.pack(">9i", 65536, 65536, 0, 65536, 65536, 0, 0, 0, 1 << 30)),
        ("noise", rng.randbytes(36)),
    ):
        found.append(("turned oddly", name, ".mp4", patch_box(turned, b"tkhd", 40, matrix), False))
    return found


def _joined() -> list[Made]:
    small, large = footage(".ts"), footage(".ts", size=(160, 128))
    raw, raw_large = footage(".h264", b_frames=0), footage(".h264", b_frames=0, size=(160, 128))
    late = footage(".ts", muxer_options=(("output_ts_offset", "100"),))
    gif = kinds()["frames.gif"]
    files: dict[str, File] = {
        "TS, larger": (".ts", small + large),
        "TS, smaller": (".ts", large + small),
        "TS, to and fro": (".ts", (small + large) * 3),
        "TS twice": (".ts", small * 2),
        "TS, late first": (".ts", late + small),
        "TS of two codecs": (".ts", small + footage(".ts", codec="mpeg2video")),
        "raw, larger": (".264", raw + raw_large),
        "raw, smaller": (".264", raw_large + raw),
        "raw, then 16k x 16k": (".264", raw + h264_of_size(1024, 1024)),
        "raw, then one macroblock": (".264", raw + h264_of_size(1, 1)),
        "JPEG, other size from the fifth": (".avi", patch_jpegs(kinds()["JPEG.avi"], 96, 80, first=4)),
        "GIF, frames beyond the screen": (".gif", gif[:6] + struct.pack("<HH", 8, 8) + gif[10:]),
        "two mp4": (".mp4", kinds()["H.264.mp4"] * 2),
        "mp4, then mkv": (".mp4", kinds()["H.264.mp4"] + kinds()["H.264.mkv"]),
        "y4m, then y4m": (".y4m", y4m("W64 H48 F25:1") + y4m("W32 H16 F25:1")),
    }
    return [("joined, sizes change", name, suffix, data, False) for name, (suffix, data) in files.items()]


_RAW = (
    "gray gray10le gray12le gray16be ya8 ya16le monow monob pal8 rgb8 bgr4_byte rgb565le rgb48be rgba64le yuva420p yuva444p16le "
    "yuv410p yuv411p yuv440p12le yuv444p14be yuv420p12le nv12 nv21 p010le p016le yuyv422 uyvy422 gbrp gbrp12le gbrap16le gbrpf32le "
    "grayf32le xyz12le bayer_bggr8 bayer_rggb16le 0rgb abgr argb x2rgb10le y210le rgbaf16le"
).split()


def _formats() -> list[Made]:
    coded: dict[str, File] = {
        "PNG rgba": (".mov", footage(".mov", codec="png", pixel_format="rgba")),
        "PNG gray16": (".mov", footage(".mov", codec="png", pixel_format="gray16be")),
        "PNG mono": (".mov", footage(".mov", codec="png", pixel_format="monob")),
        "VP9 with alpha": (
            ".webm",
            footage(
                ".webm",
                codec="libvpx-vp9",
                pixel_format="yuva420p",
                options=(("cpu-used", "8"), ("deadline", "realtime")),
            ),
        ),
        "ProRes with alpha": (".mov", footage(".mov", codec="prores_ks", pixel_format="yuva444p10le")),
        "animation with alpha": (".mov", footage(".mov", codec="qtrle", pixel_format="argb")),
        "FFV1 12 bit": (".mkv", footage(".mkv", codec="ffv1", pixel_format="yuv420p12le")),
        "FFV1 gray 12 bit": (".mkv", footage(".mkv", codec="ffv1", pixel_format="gray12le")),
        "FFV1 rgb 12 bit": (".mkv", footage(".mkv", codec="ffv1", pixel_format="gbrp12le")),
        "H.264 gray": (".mp4", footage(".mp4", pixel_format="gray")),
        "H.264 4:4:4": (".mp4", footage(".mp4", pixel_format="yuv444p")),
        "HDR of no light": (".mp4", footage(".mp4", pixel_format="yuv420p10le", colour=(("color_trc", 16),))),
    }
    raw = {
        f"raw {name}": (
            ".nut",
            footage(".nut", codec="rawvideo", pixel_format=name, num_frames=2, picture=empty_frames(name)),
        )
        for name in _RAW
    }
    return [("pixel formats", name, suffix, data, False) for name, (suffix, data) in (coded | raw).items()]


def _sounds() -> list[Made]:
    long = footage(".mp4", audio_codec="aac", audio_s=4.0)
    wave = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    only = b"RIFF" + struct.pack("<I", 36 + 8000) + wave + b"data" + struct.pack("<I", 8000) + bytes(8000)
    files: dict[str, tuple[str, bytes, bool]] = {
        "longer than the pictures": (".mp4", long, False),
        "longer, mkv": (".mkv", footage(".mkv", audio_codec="aac", audio_s=4.0), False),
        "shorter": (".mp4", footage(".mp4", audio_codec="aac", audio_s=0.05), False),
        "only sound": (".mp4", only, True),
        "sound and no picture": (".mp4", no_frames(".mp4", audio_codec="aac"), True),
        "sound cut": (".mp4", long[: len(long) * 3 // 4], False),
    }
    return [("sound", name, suffix, data, is_hopeless) for name, (suffix, data, is_hopeless) in files.items()]
