"""3D poses as NumPy arrays: one NPZ for all people, nothing pickled.

- ``skeleton``, ``joint_names`` (J,), ``parents`` (J,), ``unit`` ("mm"), ``frame`` (the camera's: x right, y down, z forward), ``fps``;
- ``track_ids`` (P,), and for the track with id 7: ``track_7_frame_indices`` (T,), ``track_7_time_s`` (T,), ``track_7_joints_mm``
  (T, J, 3) relative to the root, ``track_7_root_mm`` (T, 3) rough, ``track_7_scores`` (T, J). Missing is NaN.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posecli.atomic import atomic_path
from posecli.errors import FormatError
from posecli.formats.joints import FRAME_CONVENTION
from posecli.formats.person_motion import frame_rate
from posecli.records import Annotation, PoseSequence3D
from posecli.skeletons import H36M17


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
        FormatError: The file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            skeleton = str(arrays["skeleton"])
            return tuple(
                PoseSequence3D(
                    track_id=int(track_id),
                    skeleton=skeleton,
                    frame_indices=arrays[f"track_{track_id}_frame_indices"],
                    joints_mm=arrays[f"track_{track_id}_joints_mm"],
                    root_mm=arrays[f"track_{track_id}_root_mm"],
                    scores=arrays[f"track_{track_id}_scores"],
                )
                for track_id in arrays["track_ids"]
            )
    except (OSError, EOFError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: not an NPZ of 3D poses: {error}") from error
