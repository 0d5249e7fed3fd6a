"""3D poses as NumPy arrays: one NPZ for all people, nothing pickled.

- ``skeleton``, ``joint_names`` (J,), ``parents`` (J,), ``unit`` ("mm"), ``frame`` (the camera's: x right, y down, z forward), ``fps``;
- ``track_ids`` (P,), and for the track with id 7: ``track_7_frame_indices`` (T,), ``track_7_time_s`` (T,), ``track_7_joints_mm``
  (T, J, 3) relative to the root, ``track_7_root_mm`` (T, 3) rough, ``track_7_scores`` (T, J). Missing is NaN.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posecli.atomic import atomic_path
from posecli.errors import FormatError
from posecli.formats.joints import FRAME_CONVENTION
from posecli.formats.person_motion import frame_rate
from posecli.records import Annotation, FloatArray, PoseSequence3D
from posecli.skeletons import H36M17

MAX_BYTES = 2 * 1024**3
"""The largest file read, unpacked: some two million poses."""


def write_npz(annotation: Annotation, path: Path, *, overwrite: bool = False) -> None:
    """Write all 3D poses.

    Args:
        annotation: With ``poses_3d``.
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        "skeleton": np.array(H36M17.name),
        "joint_names": np.array(H36M17.joint_names),
        "parents": np.array(H36M17.parents, np.int64),
        "unit": np.array("mm"),
        "frame": np.array(FRAME_CONVENTION),
        "fps": np.array(frame_rate(annotation)),
        "track_ids": np.array([pose.track_id for pose in annotation.poses_3d], np.int64),
    }
    for pose in annotation.poses_3d:
        name = f"track_{pose.track_id}"
        arrays[f"{name}_frame_indices"] = pose.frame_indices
        arrays[f"{name}_time_s"] = annotation.frames.time_s[pose.frame_indices - annotation.first_frame_index]
        arrays[f"{name}_joints_mm"] = pose.joints_mm
        arrays[f"{name}_root_mm"] = pose.root_mm
        arrays[f"{name}_scores"] = pose.scores
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def read_npz(path: Path) -> tuple[PoseSequence3D, ...]:
    """Read a file that `write_npz` wrote.

    Raises:
        FormatError: The file cannot be read, says that it is larger than `MAX_BYTES`, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(member.file_size for member in archive.infolist())
            if num_bytes > MAX_BYTES:
                raise FormatError(
                    f"{path}: {num_bytes:,} bytes unpacked, more than the {MAX_BYTES:,} that are accepted"
                )
            return _sequences(archive)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (
        Exception
    ) as error:  # bytes that are no such archive fail in any way: zlib.error, TokenError, RuntimeError, ...
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise FormatError(f"{path}: not an NPZ of 3D poses: {reason}") from error


def _sequences(archive: zipfile.ZipFile) -> tuple[PoseSequence3D, ...]:
    skeleton = str(_member(archive, "skeleton"))
    if skeleton != H36M17.name:
        raise ValueError(f"skeleton {skeleton[:40]!r} is not {H36M17.name}")
    track_ids = _member(archive, "track_ids")
    if track_ids.ndim != 1 or track_ids.dtype.kind not in "iu":
        raise ValueError("track_ids is not a list of whole numbers")
    return tuple(_sequence(archive, int(track_id)) for track_id in track_ids)


def _sequence(archive: zipfile.ZipFile, track_id: int) -> PoseSequence3D:
    frames = _member(archive, f"track_{track_id}_frame_indices")
    if frames.ndim != 1 or frames.dtype.kind not in "iu" or (np.diff(frames.astype(np.int64)) <= 0).any():
        raise ValueError(f"track_{track_id}_frame_indices is not an ascending list of whole numbers")
    num_frames, num_joints = len(frames), len(H36M17)

    def values(name: str, *shape: int) -> FloatArray:
        array = _member(archive, f"track_{track_id}_{name}")
        if array.shape != (num_frames, *shape) or array.dtype != np.float32:
            raise ValueError(
                f"track_{track_id}_{name} is {array.dtype} {array.shape}, not float32 {(num_frames, *shape)}"
            )
        return array

    return PoseSequence3D(
        track_id=track_id,
        skeleton=H36M17.name,
        frame_indices=frames.astype(np.int64),
        joints_mm=values("joints_mm", num_joints, 3),
        root_mm=values("root_mm", 3),
        scores=values("scores", num_joints),
    )


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array whose header promises no more than the archive holds."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as stream:
        read_header = np.lib.format.read_array_header_1_0
        if np.lib.format.read_magic(stream) != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        shape, _, kind = read_header(stream)
        if math.prod(shape) * kind.itemsize != member.file_size - stream.tell():
            raise ValueError(f"{name} promises {shape} numbers of type {kind}, which are not there")
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
