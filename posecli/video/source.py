"""The one way to get frames: video files, folders of images, single images."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from posecli.errors import ConfigError, VideoError
from posecli.records import Frame, VideoInfo
from posecli.video.file_source import FileSource, probe_file
from posecli.video.image_source import DEFAULT_FPS, ImageSource, is_image


class Source(Protocol):
    """Frames of one input, and what is known about it.

    ``warnings`` grows while frames are read (variable frame rate, HDR, corrupt frames, a file that breaks off); it is complete when
    the iterator has ended.
    """

    info: VideoInfo
    warnings: list[str]

    def frames(self) -> Iterator[Frame]:
        """Frames in display order; a second call begins anew."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_source(
    path: Path,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    num_threads: int | None = None,
    image_fps: Fraction = DEFAULT_FPS,
) -> Source:
    """Open a video file, a folder of images, or an image.

    Frames are upright RGB (display rotation and EXIF orientation applied; 10 bit and HDR converted). Every picture the file stores
    gives exactly one frame: one that cannot be decoded comes as a frame of status ``corrupt`` with the picture before it (or black).
    ``Frame.time_s`` counts from the video's first frame; ``Frame.pts`` is the file's own number.

    Args:
        path: The input.
        start_s: Only frames with ``time_s >= start_s``; their ``index`` remains that in the whole video.
        end_s: Only frames with ``time_s < end_s``.
        num_threads: Decoder threads; by default two where there are two processors. Each holds a picture.
        image_fps: What a folder of images counts as; video files have their own clock.

    Raises:
        VideoError: The input is missing, empty, or not readable as video or image.
        ConfigError: The range is empty.
    """
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise ConfigError(f"end {end_s} s is not after start {start_s} s")
    if _is_still(path):
        return ImageSource(path, start_s=start_s, end_s=end_s, fps=image_fps)
    return FileSource(path, start_s=start_s, end_s=end_s, num_threads=num_threads)


def probe(path: Path) -> VideoInfo:
    """What an input says about itself; decodes no more than the first picture.

    Raises:
        VideoError: The input is missing, empty, or not readable as video or image.
    """
    return ImageSource(path).info if _is_still(path) else probe_file(path)


def _is_still(path: Path) -> bool:
    try:
        is_there = path.exists()
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}", hint="check its name and permissions") from error
    if not is_there:
        raise VideoError(f"{path}: no such file or folder")
    return path.is_dir() or is_image(path)
