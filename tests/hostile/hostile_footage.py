"""Good footage of every kind to be spoilt, and ways to spoil it that need to know the format."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

from tests.video_factory import make_video

NUM_FRAMES = 10
SIZE = (64, 48)


@cache
def footage(suffix: str, **options: Any) -> bytes:
    """A small video in memory. ``options`` as of `tests.video_factory.make_video`, made hashable."""
    with TemporaryDirectory() as folder:
        options = {
            key: dict(value) if key in ("options", "muxer_options", "colour") else value
            for key, value in options.items()
        }
        path = Path(folder) / f"good{suffix}"
        make_video(
            path, options.pop("num_frames", NUM_FRAMES), options.pop("size", SIZE), options.pop("fps", 25), **options
        )
        return path.read_bytes()


@cache
def no_frames(suffix: str, codec: str = "libx264", audio_codec: str | None = None) -> bytes:
    """A file with a head and no pictures; with an empty track of sound on request."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"empty{suffix}"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
            if audio_codec is not None:
                container.add_stream(audio_codec, rate=48000)
            container.start_encoding()
        return path.read_bytes()


def kinds() -> dict[str, bytes]:
    """One good file of each kind; the name ends with the suffix."""
    return {
        "H.264.mp4": footage(".mp4"),
        "H.264 with sound.mov": footage(".mov", audio_codec="aac"),
        "H.264.mkv": footage(".mkv"),
        "H.264.ts": footage(".ts"),
        "H.264.flv": footage(".flv"),
        "H.264.264": footage(".h264", b_frames=0),
        "HEVC.mp4": footage(
            ".mp4", codec="libx265", options=(("preset", "ultrafast"), ("x265-params", "log-level=none"))
        ),
        "MPEG-4.avi": footage(".avi", codec="mpeg4"),
        "MPEG-2.mpg": footage(".mpg", codec="mpeg2video"),
        "VP8.webm": footage(".webm", codec="libvpx"),
        "VP9.webm": footage(".webm", codec="libvpx-vp9", options=(("cpu-used", "8"), ("deadline", "realtime"))),
        "JPEG.avi": footage(".avi", codec="mjpeg", pixel_format="yuvj420p"),
        "FFV1.mkv": footage(".mkv", codec="ffv1"),
        "PNG.mov": footage(".mov", codec="png", pixel_format="rgb24"),
        "ProRes.mov": footage(".mov", codec="prores_ks", pixel_format="yuv422p10le"),
        "frames.gif": footage(".gif", codec="gif", pixel_format="rgb8"),
        "raw.y4m": footage(".y4m", codec="rawvideo"),
    }


def patch_box(data: bytes, box: bytes, offset: int, value: bytes, *, which: int = 0) -> bytes:
    """Overwrite bytes of an mp4 box, ``offset`` after its name."""
    places = [found.start() for found in re.finditer(re.escape(box), data)]
    place = places[which] + 4 + offset
    return data[:place] + value + data[place + len(value) :]


def mkv_times(data: bytes, times: Sequence[int]) -> bytes:
    """Give the blocks of a Matroska file other times, milliseconds after their cluster."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.mkv"
        path.write_bytes(data)
        with av.open(str(path)) as container:
            places = [packet.pos for packet in container.demux(video=0) if packet.size]
    changed = bytearray(data)
    for place, time in zip(places, times, strict=False):
        assert place is not None and changed[place] == 0x81  # track 1; its time comes next
        struct.pack_into(">h", changed, place + 1, time)
    return bytes(changed)


def h264_of_size(width_mb: int, height_mb: int) -> bytes:
    """A raw H.264 stream whose header claims so many macroblocks, with a picture of nothing behind it."""
    sps = _Bits().bits(66, 8).bits(0, 8).bits(62, 8).ue(0).ue(0).ue(2).ue(1).bits(0, 1)
    sps = sps.ue(width_mb - 1).ue(height_mb - 1).bits(1, 1).bits(1, 1).bits(0, 1).bits(0, 1)
    pps = _Bits().ue(0).ue(0).bits(0, 2).ue(0).ue(0).ue(0).bits(0, 3).ue(0).ue(0).ue(0).bits(0, 3)
    slice_head = _Bits().ue(0).ue(7).ue(0).bits(0, 4).ue(0).bits(0, 2).ue(0)
    units = [(0x67, sps.done()), (0x68, pps.done()), (0x65, slice_head.done() + b"\x55" * 400)]
    return b"".join(b"\x00\x00\x00\x01" + bytes([kind]) + body for kind, body in units)


class _Bits:
    """Bits one after another, as H.264 writes them."""

    def __init__(self) -> None:
        self._text = ""

    def bits(self, value: int, count: int) -> _Bits:
        self._text += f"{value:0{count}b}" if count else ""
        return self

    def ue(self, value: int) -> _Bits:
        """An Exp-Golomb number."""
        word = f"{value + 1:b}"
        self._text += "0" * (len(word) - 1) + word
        return self

    def done(self) -> bytes:
        text = self._text + "1"
        text += "0" * (-len(text) % 8)
        return bytes(int(text[k : k + 8], 2) for k in range(0, len(text), 8))


def patch_jpegs(data: bytes, width: int, height: int, *, first: int = 0) -> bytes:
    """Give every JPEG picture from the ``first`` on another size in its header."""
    changed = bytearray(data)
    for found in list(re.finditer(rb"\xff\xc0\x00\x11\x08", data))[first:]:
        struct.pack_into(">HH", changed, found.end(), height, width)
    return bytes(changed)


def patch_vp8(data: bytes, width: int, height: int) -> bytes:
    """Give every key frame of VP8 another size."""
    changed = bytearray(data)
    for found in re.finditer(rb"\x9d\x01\x2a", data):
        struct.pack_into("<HH", changed, found.end(), width, height)
    return bytes(changed)


def empty_frames(pixel_format: str) -> Callable[[int], Any]:
    """Pictures of noise in a pixel format that nothing converts to."""

    def picture(number: int) -> av.VideoFrame:
        frame = av.VideoFrame(*SIZE, pixel_format)
        for plane in frame.planes:
            plane.update(np.random.default_rng(number).bytes(plane.buffer_size))
        return frame

    return picture


def y4m(head: str, num_frames: int = 2) -> bytes:
    """A YUV4MPEG file with this header and frames of 64 x 48."""
    return b"YUV4MPEG2 " + head.encode() + b"\n" + (b"FRAME\n" + bytes(64 * 48 * 3 // 2)) * num_frames
