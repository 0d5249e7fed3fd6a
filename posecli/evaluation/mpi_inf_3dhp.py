"""MPI-INF-3DHP's test set as P-STMO and MotionAGFormer measure lifters on it.

Each valid frame is judged once: the lifter sees the F frames around it (the first and last frame repeated beyond the ends), and the
middle one counts. MPJPE is over all 17 joints with the root at 0; PCK@150 and AUC over joints 0 to 13 (head top, neck, arms,
legs), as the data set's own script counts them. Sequences are reported alone, and pooled over frames, which is what papers quote.

The file was not at hand when this was written: its layout is the one the projects' ``data_to_npz_3dhp_test.py`` writes. Lifters see
the joints in Human3.6M's order (their scans and their flips assume it), and are judged in the data set's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posecli.errors import ConfigError, FormatError
from posecli.evaluation.joints import Reals, joints_report
from posecli.evaluation.lift import LifterUnderTest, Progress, standard_size
from posecli.evaluation.restricted_pickle import load_npz
from posecli.records import BoolArray, FloatArray, IntArray

JOINT_NAMES = tuple(
    "head_top neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee right_ankle "
    "left_hip left_knee left_ankle pelvis spine head".split()
)
ROOT = 14
PCK_JOINTS = tuple(range(14))
TO_H36M: tuple[int, ...] = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
"""For each joint of Human3.6M's order its place in this data set's."""

_J = len(JOINT_NAMES)
_WIDE = ("TS5", "TS6")
_SIZE_WH, _WIDE_SIZE_WH = (2048, 2048), (1920, 1080)


@dataclass(frozen=True, slots=True)
class Sequence3DHP:
    """One recording, joints in the data set's order.

    ``joints_px`` (T, 17, 2); ``truth_mm`` (T, 17, 3) in the camera's axes, of a body of universal size; ``is_valid`` (T,): is judged.
    """

    name: str
    joints_px: FloatArray
    truth_mm: FloatArray
    is_valid: BoolArray

    @property
    def size_wh(self) -> tuple[int, int]:
        """Of the pictures, px."""
        return _WIDE_SIZE_WH if self.name in _WIDE else _SIZE_WH


@dataclass(frozen=True, slots=True)
class Report3DHP:
    """Errors by sequence and pooled: what `posecli.evaluation.joints.joints_report` gives; joints in the data set's order."""

    per_sequence: dict[str, dict[str, Any]]
    pooled: dict[str, Any]
    clip_frames: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {**self.pooled, "per_sequence": self.per_sequence, "clip_frames": self.clip_frames}


def read_mpi_inf_3dhp(path: Path) -> tuple[Sequence3DHP, ...]:
    """Read ``data_test_3dhp.npz``.

    It holds ``data``: by sequence (TS1 to TS6) ``data_2d`` (T, 17, 2) px, ``data_3d`` (T, 17, 3) mm and ``valid`` (T,).

    Raises:
        FormatError: The file cannot be read, holds anything but data, or is laid out differently.
    """
    data = load_npz(path).get("data")
    if not isinstance(data, Mapping) or not data:
        raise FormatError(f"{path}: has no table 'data' of sequences")
    return tuple(_read_sequence(path, str(name), content) for name, content in data.items())


def evaluate_mpi_inf_3dhp(
    lifter: LifterUnderTest,
    sequences: tuple[Sequence3DHP, ...],
    *,
    clip_frames: int,
    progress: Progress | None = None,
) -> Report3DHP:
    """Measure a lifter on MPI-INF-3DHP.

    A lifter of posecli's own predicts a body of standard size; it is given the true length of bones, taken together, of each sequence.

    Args:
        lifter: What is measured; one that predicts pixels is taken to be trained as in those projects: on millimetres divided like
            pixels.
        sequences: The data.
        clip_frames: F, odd.
        progress: Called with (done, all) frames.

    Raises:
        ConfigError: F is even, or no frame is valid.
    """
    if clip_frames < 1 or clip_frames % 2 == 0:
        raise ConfigError(f"{clip_frames} frames have no middle one", hint="an odd number")
    total = sum(int(sequence.is_valid.sum()) for sequence in sequences)
    if total == 0:
        raise ConfigError("no frame of MPI-INF-3DHP is valid")
    found, done = [], 0
    for sequence in sequences:
        middles = np.flatnonzero(sequence.is_valid)
        found.append(
            _lift(lifter, sequence, middles, clip_frames, lambda n, before=done: _tell(progress, before + n, total))
        )
        done += len(middles)
    truths = [s.truth_mm[s.is_valid].astype(np.float64) for s in sequences]
    truths = [truth - truth[:, ROOT : ROOT + 1] for truth in truths]
    judged = zip(sequences, found, truths, strict=True)
    return Report3DHP(
        per_sequence={
            s.name: joints_report(pred, true, pck_joints=PCK_JOINTS) for s, pred, true in judged if len(true)
        },
        pooled=joints_report(np.concatenate(found), np.concatenate(truths), pck_joints=PCK_JOINTS),
        clip_frames=clip_frames,
    )


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _lift(lifter: LifterUnderTest, sequence: Sequence3DHP, middles: IntArray, clip_frames: int, tell: Any) -> Reals:
    """(V, 17, 3) mm of the valid frames."""
    order = list(TO_H36M)
    joints = sequence.joints_px[:, order]
    truth = sequence.truth_mm[sequence.is_valid][:, order].astype(np.float64)
    size = standard_size(truth) if lifter.normalisation == "person" else 1.0
    reach = clip_frames // 2
    found = np.zeros((len(middles), _J, 3))
    for start in range(0, len(middles), lifter.batch_size):
        part = middles[start : start + lifter.batch_size]
        rows = np.clip(part[:, None] + np.arange(-reach, reach + 1), 0, len(joints) - 1)
        scores = np.ones((*rows.shape, _J), np.float32)
        sizes = np.tile(np.array(sequence.size_wh, np.float32), (len(part), 1))
        found[start : start + len(part), order] = lifter(joints[rows], scores, sizes).joints[:, reach] * size
        tell(start + len(part))
    return found


def _read_sequence(path: Path, name: str, content: Any) -> Sequence3DHP:
    where = f"{path}: {name}"
    if not isinstance(content, Mapping):
        raise FormatError(f"{where}: not a table")
    arrays = {}
    for key, wanted in (("data_2d", (_J, 2)), ("data_3d", (_J, 3)), ("valid", ())):
        value = content.get(key)
        if (
            not isinstance(value, np.ndarray)
            or value.dtype.kind not in "biuf"
            or value.shape[1:] != wanted
            or not value.ndim
        ):
            raise FormatError(f"{where}: {key} is not an array of {('frames', *wanted)}")
        arrays[key] = value
    if len({len(value) for value in arrays.values()}) > 1:
        raise FormatError(f"{where}: its arrays are not of as many frames")
    return Sequence3DHP(
        name=name,
        joints_px=arrays["data_2d"].astype(np.float32),
        truth_mm=arrays["data_3d"].astype(np.float32),
        is_valid=np.asarray(arrays["valid"].astype(np.bool_)),
    )
