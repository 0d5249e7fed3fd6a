"""Still images as frames: one image is a video of one frame, a folder of images one frame each, in natural order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from posecli.errors import VideoError
from posecli.records import Frame, ImageArray, VideoInfo
from posecli.video.limits import MAX_PIXELS, check_size
from posecli.video.still_header import still_size

DEFAULT_FPS = Fraction(30)
_MAX_FILE_BYTES = 9 * MAX_PIXELS  # four channels of 16 bit, unpacked, and room for what cameras add
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what is wrong with an image is said in our words


def is_image(path: Path) -> bool:
    """Whether a name looks like a still image; hidden files do not count."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def natural_key(path: Path) -> tuple[tuple[int, str], ...]:
    """Sorts ``img2`` before ``img10``; the plain name decides between equals."""
    parts = re.split(r"(\d+)", str(path).lower())
    return (*((int(p), "") if p.isdecimal() else (-1, p) for p in parts), (-1, str(path)))


def list_images(folder: Path) -> list[Path]:
    """The images of a folder, in natural order."""
    return sorted((p for p in folder.iterdir() if p.is_file() and is_image(p)), key=natural_key)


class ImageSource:
    """Still images as frames. See `posecli.video.source.open_source`.

    Images have no clock, but motion needs one: they count as pictures of a video of ``fps`` frames a second; the k-th has pts k.
    """

    def __init__(
        self,
        path: Path,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        fps: Fraction = DEFAULT_FPS,
    ) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._files = list_images(path) if path.is_dir() else [path]
        self._start_s, self._end_s = start_s, end_s
        if not self._files:
            raise VideoError(f"{path}: folder without images", hint=f"known: {' '.join(sorted(IMAGE_SUFFIXES))}")
        self.info = _describe(path, self._files, fps)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def frames(self) -> Iterator[Frame]:
        """Read the images one after another; one that cannot be read gives a corrupt frame.

        Raises:
            VideoError: An image is not of the size of the first.
        """
        size_wh = (self.info.width_px, self.info.height_px)
        previous: ImageArray = np.zeros((*size_wh[::-1], 3), np.uint8)
        for index, file in enumerate(self._files):
            time_s = float(index * self.info.time_base)
            if (self._start_s is not None and time_s < self._start_s) or (
                self._end_s is not None and time_s >= self._end_s
            ):
                continue
            image = read_image(file)
            if image is None:
                self.warnings.append(f"{file}: cannot be read as an image: the picture before stands in for it")
                yield Frame(index, index, time_s, previous.copy(), "corrupt")
                continue
            found_wh = (image.shape[1], image.shape[0])
            if found_wh != size_wh:
                what = f"{file}: is {found_wh[0]}x{found_wh[1]}, the images before are {size_wh[0]}x{size_wh[1]}"
                raise VideoError(
                    what, hint="a folder is one sequence: put images of other sizes in folders of their own"
                )
            previous = image
            yield Frame(index, index, time_s, image)


def read_image(path: Path) -> ImageArray | None:
    """(H, W, 3) uint8 RGB, turned as its EXIF orientation says; ``None`` when it is no image.

    Raises:
        VideoError: The file cannot be opened, or is larger than posecli reads (`posecli.video.limits`).
    """
    try:
        if not path.is_file():
            raise VideoError(f"{path}: is not a file")
        if (num_bytes := path.stat().st_size) > _MAX_FILE_BYTES:
            raise VideoError(f"{path}: {num_bytes:,} bytes are too many for an image")
        data = np.fromfile(path, np.uint8)  # cv2.imread cannot open every name on Windows
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from error
    size_wh = still_size(data.data)
    if size_wh is None:
        return None
    check_size(path, *size_wh)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def _describe(path: Path, files: list[Path], fps: Fraction) -> VideoInfo:
    """Facts from the first image that can be read."""
    image = next((i for i in map(read_image, files) if i is not None), None)
    if image is None:
        raise VideoError(f"{files[0]}: cannot be read as an image", hint="the file is damaged or not an image")
    height, width = image.shape[:2]
    return VideoInfo(
        path=path,
        width_px=width,
        height_px=height,
        fps=fps,
        num_frames_from_header=len(files),
        duration_s=float(len(files) / fps),
        rotation_deg=0,
        time_base=1 / fps,
        codec="images",
        pixel_format="rgb24",
        colour="srgb",
        is_hdr=False,
        has_audio=False,
    )
