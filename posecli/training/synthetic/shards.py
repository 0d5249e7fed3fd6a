"""Rendered windows on disk: files of 256 windows, frames as JPEG, opened without reading them."""

from __future__ import annotations

import mmap
import struct
import zipfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from posecli.atomic import atomic_path
from posecli.errors import FormatError
from posecli.records import FloatArray, ImageArray, IntArray
from posecli.training.synthetic.degrade import decode_jpeg, encode_jpeg
from posecli.training.synthetic.window import RenderedWindow

WINDOWS_PER_SHARD = 256
_QUALITY = 90
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip member: lengths of its name and extra field
_ARRAYS = ("frames", "starts", "keypoints", "visibility", "boxes", "points_mm", "fps", "kinds")


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"windows-{number:05d}.npz"


def write_shard(windows: Sequence[RenderedWindow], path: Path) -> None:
    """Write windows to a file that appears whole or not at all; an existing one is replaced.

    Raises:
        OutputError: The file cannot be written.
    """
    encoded = [encode_jpeg(image, _QUALITY) for window in windows for image in window.images]
    starts = np.cumsum([0, *(len(data) for data in encoded)])
    with atomic_path(path, overwrite=True) as temporary:
        np.savez(
            temporary,
            frames=np.concatenate(encoded),
            starts=starts.astype(np.int64),
            keypoints=np.stack([window.keypoints for window in windows]),
            visibility=np.stack([window.visibility for window in windows]),
            boxes=np.stack([window.boxes for window in windows]),
            points_mm=np.stack([window.points_mm for window in windows]),
            fps=np.array([window.fps for window in windows], np.float32),
            kinds=np.array([window.kind for window in windows]),
        )


@dataclass(frozen=True, slots=True)
class _Shard:
    frames: ImageArray
    starts: IntArray
    keypoints: FloatArray
    visibility: np.ndarray
    boxes: FloatArray
    points_mm: FloatArray
    fps: FloatArray
    kinds: np.ndarray


class RenderedWindows:
    """The windows of a folder, in order, decoded when asked for.

    Files are mapped, not read: several processes share the memory, and opening a folder takes milliseconds. Folders that are being
    written may be opened; what is added later is not seen.

    Args:
        folder: What `posecli synth windows` wrote.

    Raises:
        FormatError: The folder holds no windows, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._shards = [_open_shard(path) for path in sorted(folder.glob("windows-*.npz"))]
        if not self._shards:
            raise FormatError(f"{folder}: no rendered windows in it", hint="render some with posecli synth windows")
        self._ends = np.cumsum([len(shard.fps) for shard in self._shards]).tolist()

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def num_frames(self) -> int:
        """Frames a window."""
        return int(self._shards[0].keypoints.shape[1])

    def read(self, index: int, *, frames: Sequence[int] | None = None) -> RenderedWindow:
        """A window.

        Args:
            index: From 0.
            frames: Which of its frames, by default all; decoding takes most of the time.

        Raises:
            IndexError: There is no such window.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        shard = self._shards[number]
        row = index - (self._ends[number - 1] if number else 0)
        wanted = list(range(self.num_frames) if frames is None else frames)
        places = [row * self.num_frames + k for k in wanted]
        images = [decode_jpeg(shard.frames[shard.starts[p] : shard.starts[p + 1]]) for p in places]
        return RenderedWindow(
            images=np.stack(images),
            keypoints=shard.keypoints[row, wanted],
            visibility=shard.visibility[row, wanted],
            boxes=shard.boxes[row, wanted],
            points_mm=shard.points_mm[row, wanted],
            fps=float(shard.fps[row]),
            kind=str(shard.kinds[row]),
        )

    def __getitem__(self, index: int) -> RenderedWindow:
        return self.read(index)

    def __iter__(self) -> Iterator[RenderedWindow]:
        return (self.read(index) for index in range(len(self)))


def count_windows(path: Path) -> int:
    """Windows in a shard; 0 if there is no such file.

    Raises:
        FormatError: The file is damaged.
    """
    return len(_open_shard(path).fps) if path.exists() else 0


def _open_shard(path: Path) -> _Shard:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info.header_offset for info in archive.infolist()}
        with path.open("rb") as stream:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)  # one open file a shard
            return _Shard(*(_member(stream, data, members[f"{name}.npy"]) for name in _ARRAYS))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, struct.error) as error:
        raise FormatError(f"{path}: damaged: {error}", hint="delete it and render again") from error


def _member(stream: BinaryIO, data: mmap.mmap, offset: int) -> np.ndarray:
    """A member of an uncompressed ``.npz`` as an array on the file."""
    stream.seek(offset)
    name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    stream.seek(name_length + extra_length, 1)
    np.lib.format.read_magic(stream)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    count = int(np.prod(shape))
    array = np.frombuffer(data, dtype, count, stream.tell())
    return array.reshape(shape, order="F" if is_fortran else "C")
