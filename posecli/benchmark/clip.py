"""The video that is measured on: one that was given, the example of the checkout, or one made here."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

import posecli
from posecli.errors import VideoError
from posecli.records import Frame, ImageArray
from posecli.video.sink import VideoSink
from posecli.video.source import open_source

_EXAMPLE = Path(posecli.__file__).resolve().parents[1] / "examples" / "rendered_people.mp4"
_FPS = 30
_MADE_WH = (960, 540)


def default_clip(folder: Path) -> Path:
    """The example clip where this is a checkout; else a moving figure, written into ``folder``."""
    if _EXAMPLE.exists():
        return _EXAMPLE
    return write_clip(folder / "made.mp4", [_figure(index / _FPS) for index in range(60)])


def read_frames(video: Path, num_frames: int, *, num_threads: int | None = None) -> list[Frame]:
    """The first frames of a video.

    Raises:
        VideoError: It cannot be read, or has none.
    """
    with open_source(video, num_threads=num_threads) as source:
        frames = [frame for frame, _ in zip(source.frames(), range(num_frames), strict=False)]
    if not frames:
        raise VideoError(f"{video}: no frame could be decoded")
    return frames


def scaled(frames: Sequence[Frame], height_px: int) -> list[ImageArray]:
    """The pictures of frames in another height; the width follows, whole and even."""
    height, width = frames[0].image.shape[:2]
    size = (2 * round(width * height_px / height / 2), height_px)
    return [np.asarray(cv2.resize(f.image, size, interpolation=cv2.INTER_LINEAR), np.uint8) for f in frames]


def write_clip(path: Path, pictures: Sequence[ImageArray]) -> Path:
    """Write pictures (H, W, 3) uint8 RGB as a video of 30 frames a second."""
    height, width = pictures[0].shape[:2]
    sink = VideoSink(path, size_wh=(width, height), time_base=Fraction(1, _FPS), fps=Fraction(_FPS), overwrite=True)
    with sink:
        for index, picture in enumerate(pictures):
            sink.write(picture, index)
    return path


def _figure(time_s: float) -> ImageArray:
    """A noisy background and a stick figure that walks across it: something for the video codec to do."""
    width, height = _MADE_WH
    noise = np.random.default_rng(0).integers(60, 120, (height // 20, width // 20, 3), np.uint8)
    picture = cv2.resize(noise, _MADE_WH, interpolation=cv2.INTER_CUBIC)
    x, swing = int(200 + 200 * time_s), int(60 * np.sin(6 * time_s))
    hip, neck = (x, 300), (x, 180)
    for start, end in ((hip, neck), (hip, (x + swing, 450)), (hip, (x - swing, 450)), (neck, (x + swing, 290))):
        cv2.line(picture, start, end, (200, 160, 140), 26)
    cv2.circle(picture, (x, 140), 32, (220, 180, 160), -1)
    return np.asarray(picture, np.uint8)
