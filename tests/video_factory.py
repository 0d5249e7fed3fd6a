"""Small real videos: eight stripes, black or white, carry the number of each picture, so that no compression can blur it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def numbered_picture(number: int, size: tuple[int, int]) -> Picture:
    """(H, W, 3): upper half stripes (most significant bit left), lower half grey that grows with the number."""
    width, height = size
    picture = np.full((height, width, 3), 60 + number % 120, np.uint8)
    bits = (number >> np.arange(7, -1, -1)) & 1
    picture[: height // 2] = np.repeat(bits * 255, -(-width // 8))[:width, None]
    return picture


def read_number(picture: Picture) -> int:
    """The number in a picture made by `numbered_picture`."""
    height, width = picture.shape[:2]
    middles = ((np.arange(8) + 0.5) * -(-width // 8)).astype(int)
    bits = picture[height // 4, middles].mean(axis=-1) > 128
    return int(bits @ (1 << np.arange(7, -1, -1)))


def make_video(
    path: Path,
    num_frames: int = 20,
    size: tuple[int, int] = (64, 48),
    fps: Fraction | int = 25,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    gop: int = 8,
    b_frames: int = 2,
    pixel_format: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation_deg: float = 0.0,
    is_mirrored: bool = False,
    colour: dict[str, int] | None = None,
    audio_codec: str | None = None,
    audio_s: float | None = None,
    picture: Callable[[int], Any] | None = None,
    muxer_options: dict[str, str] | None = None,
) -> Path:
    """Write a video.

    Args:
        path: Where; the suffix decides the container.
        num_frames: How many pictures.
        size: Width and height, px.
        fps: Frames a second.
        codec: Encoder.
        options: Of the encoder; libx264 gets crf 12, ultrafast, and as many B-frames as asked.
        gop: Distance of key frames.
        b_frames: B-frames in a row, for encoders that know them.
        pixel_format: As stored.
        pts: Timestamps of the pictures in ``time_base``; default one every 1 / fps.
        time_base: Seconds per tick; default 1 / fps.
        rotation_deg: Counter-clockwise turn noted in the display matrix; pixels are stored unturned.
        is_mirrored: Whether the display matrix also mirrors left and right.
        colour: ``colorspace``, ``color_primaries``, ``color_trc``, ``color_range`` numbers.
        audio_codec: Adds a tone.
        audio_s: Its length; default that of the video.
        picture: Gives the k-th picture as RGB (H, W, 3) uint8, or an `av.VideoFrame`; default `numbered_picture`.
        muxer_options: For the container.
    """
    time_base = time_base or 1 / Fraction(fps)
    pts = pts if pts is not None else [round(k / Fraction(fps) / time_base) for k in range(num_frames)]
    with av.open(str(path), "w", options=muxer_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps), options=_options(codec, options, b_frames))
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, pixel_format, gop
        stream.codec_context.thread_count = 1
        stream.time_base = stream.codec_context.time_base = time_base
        if codec in {"mpeg4", "mpeg2video"}:
            stream.max_b_frames = b_frames
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation_deg or is_mirrored:
            stream.set_display_rotation(rotation_deg, hflip=is_mirrored)
        tone = _tone_stream(container, audio_codec) if audio_codec else None
        for k in range(num_frames):
            frame = _frame(picture(k) if picture else numbered_picture(k, size), pixel_format)
            frame.pts, frame.time_base = pts[k], time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            _write_tone(container, tone, audio_s if audio_s is not None else num_frames / float(fps))
    return path


def _options(codec: str, options: dict[str, str] | None, b_frames: int) -> dict[str, str]:
    if codec == "libx264":
        return {"crf": "12", "preset": "ultrafast", "bf": str(b_frames), "sc_threshold": "0", **(options or {})}
    return options or {}


def _frame(picture: Any, pixel_format: str) -> av.VideoFrame:
    if isinstance(picture, av.VideoFrame):
        return picture
    return av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)


def _tone_stream(container: Any, codec: str) -> Any:
    stream = container.add_stream(codec, rate=48000)
    stream.layout = "mono"
    return stream


def _write_tone(container: Any, stream: Any, duration_s: float) -> None:
    samples = np.sin(np.arange(round(48000 * duration_s)) * 2 * np.pi * 440 / 48000).astype(np.float32) / 4
    size = stream.codec_context.frame_size or 1024
    for start in range(0, len(samples), size):
        part = samples[None, start : start + size]
        if stream.codec_context.format.name.startswith("s16"):
            frame = av.AudioFrame.from_ndarray((part * 32767).astype(np.int16), format="s16", layout="mono")
        else:
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
