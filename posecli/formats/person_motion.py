"""One person's 3D poses as motion files want them: every frame from the first to the last, y upwards, one file a person.

The camera's frame (x right, y down, z forward) becomes x right, y up, z backward, towards the viewer: a half turn about x. "Up" is
up in the picture: how the camera leans is not known. Where the root is known its rough trajectory is added to the joints; between
known roots it runs straight, before and after them it stands still; a person without any root stays at the origin.

Legend: N frames from the first to the last of a track, J joints.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posecli.atomic import check_output
from posecli.errors import OutputError
from posecli.records import Annotation, IntArray, PoseSequence3D

Float64Array = NDArray[np.float64]

_UP = np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True, slots=True)
class PersonMotion:
    """``frame_indices`` (N,) and ``time_s`` (N,) of the video, ``positions_mm`` (N, J, 3) y up, NaN where missing; ``fps``."""

    frame_indices: IntArray
    time_s: Float64Array
    positions_mm: Float64Array
    fps: float


def person_motion(annotation: Annotation, pose: PoseSequence3D) -> PersonMotion | None:
    """All frames between the first and the last in which the person has joints; ``None`` where there is no such frame."""
    has_joints = np.isfinite(pose.joints_mm).all(axis=-1).any(axis=-1)
    if not has_joints.any():
        return None
    rows = np.flatnonzero(has_joints)
    frames = np.arange(pose.frame_indices[rows[0]], pose.frame_indices[rows[-1]] + 1, dtype=np.int64)
    times = annotation.frames.time_s[frames - annotation.first_frame_index]
    positions = np.full((len(frames), *pose.joints_mm.shape[1:]), np.nan)
    roots = _roots(pose, annotation.frames.time_s[pose.frame_indices - annotation.first_frame_index])
    positions[pose.frame_indices[rows] - frames[0]] = pose.joints_mm[rows] + roots[rows, None]
    return PersonMotion(frames, times, positions * _UP, frame_rate(annotation))


def frame_rate(annotation: Annotation) -> float:
    """Frames a second: the container's own, or where it does not say what the frames' times show; 1 for a single frame."""
    if annotation.video.fps is not None:
        return float(annotation.video.fps)
    steps = np.diff(annotation.frames.time_s)
    return 1.0 / float(np.median(steps)) if steps.size else 1.0


def write_person_files(
    annotation: Annotation,
    folder: Path,
    suffix: str,
    write: Callable[[PersonMotion, Path], None],
    note: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Write ``NAME_ID.suffix`` for every person with joints, NAME being the video's and ID the track's.

    Args:
        annotation: With ``poses_3d``.
        folder: Created if its own folder exists.
        suffix: ``.trc`` or ``.bvh``.
        write: Writes one file.
        note: Told each file before it is written.

    Returns:
        The files.

    Raises:
        OutputError: The folder cannot be made, or what ``write`` raises.
    """
    _make_folder(folder)
    written = []
    for pose in annotation.poses_3d:
        motion = person_motion(annotation, pose)
        if motion is None:
            continue
        path = folder / f"{annotation.video.path.stem}_{pose.track_id}{suffix}"
        if note is not None:
            note(path)
        write(motion, path)
        written.append(path)
    return written


def check_person_files(
    folder: Path, video_name: str, suffix: str, *, overwrite: bool, own: Container[str] = ()
) -> None:
    """Refuse a folder early, before hours of work are spent on it.

    Args:
        folder: Where the files are to lie.
        video_name: The video's file name without its suffix.
        suffix: ``.trc`` or ``.bvh``.
        overwrite: Whether existing files may be replaced.
        own: Names of files that may be replaced in any case.

    Raises:
        OutputError: A file of this video lies there and may not be replaced, or the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, a folder is needed for one {suffix} file a person")
    if not folder.exists():
        check_output(folder, overwrite=False)
        return
    check_output(folder / f"{video_name}_0{suffix}", overwrite=True)
    for path in sorted(folder.glob(f"*{suffix}")):
        number = path.stem.removeprefix(f"{video_name}_")
        if path.stem.startswith(f"{video_name}_") and number.isdecimal() and not overwrite and path.name not in own:
            raise OutputError(f"{path}: exists already", hint="pass --overwrite to replace it")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from error


def _roots(pose: PoseSequence3D, times: Float64Array) -> Float64Array:
    """(T, 3) mm, without gaps."""
    known = np.flatnonzero(np.isfinite(pose.root_mm).all(axis=-1))
    if not known.size:
        return np.zeros((len(pose), 3))
    return np.stack([np.interp(times, times[known], pose.root_mm[known, axis]) for axis in range(3)], axis=1)
