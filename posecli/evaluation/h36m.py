"""Human3.6M's protocols 1 and 2, as the code of MotionBERT and PoseMamba measures them.

- Clips of F frames without overlap. What is left of a video after its last whole clip is not judged; a video shorter than a clip
  is stretched to one by repeating frames (the authors repeat at random, here evenly), and errors are averaged over a frame's
  occurrences.
- The lifter sees each clip and its mirror image (`posecli.evaluation.lift`); the root is 0.
- Pixels become millimetres by each frame's own factor. The truth is MotionBERT's 2.5D one, its perspective kept: such numbers
  and those of pipelines that work in the camera's space (VideoPose3D's files) are not interchangeable.
- Three recordings of S9 with broken labels are left out, where videos are named as MotionBERT names them.
- Errors are averaged over the frames of an action, then over the actions.

posecli's own lifters predict a body of standard size: before the comparison it is given the true length of bones, taken together, of
each video. The authors' lifters are given the true distance instead (the factor), which is as much help.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from posecli.errors import ConfigError
from posecli.evaluation.h36m_files import H36MTest
from posecli.evaluation.joints import Reals, mpjpe, mpjve, n_mpjpe, p_mpjpe
from posecli.evaluation.lift import LiftedClips, LifterUnderTest, Progress, standard_size
from posecli.records import BoolArray, IntArray
from posecli.skeletons import H36M17

BROKEN_VIDEOS = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")
CLIP_FRAMES = 243
METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm")


@dataclass(frozen=True, slots=True)
class H36MReport:
    """Errors of a lifter on Human3.6M.

    ``per_action`` has `METRICS` by action, ``mean`` their plain means over the actions (``None`` where there is nothing to average);
    ``per_joint_mm`` is over all frames. ``num_unseen`` frames were in no clip, ``num_broken`` in recordings left out.
    """

    per_action: dict[str, dict[str, float | None]]
    mean: dict[str, float | None]
    per_joint_mm: dict[str, float | None]
    clip_frames: int
    num_clips: int
    num_frames: int
    num_unseen: int
    num_broken: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            **self.mean,
            "per_action": self.per_action,
            "per_joint_mm": self.per_joint_mm,
            "clip_frames": self.clip_frames,
            "num_clips": self.num_clips,
            "frames": self.num_frames,
            "num_unseen": self.num_unseen,
            "num_broken": self.num_broken,
        }


def evaluate_h36m(
    lifter: LifterUnderTest, test: H36MTest, *, clip_frames: int = CLIP_FRAMES, progress: Progress | None = None
) -> H36MReport:
    """Measure a lifter on Human3.6M.

    Args:
        lifter: What is measured.
        test: The data.
        clip_frames: F.
        progress: Called with (done, all) clips.

    Raises:
        ConfigError: The lifter predicts pixels and the data cannot turn them into millimetres.
    """
    if lifter.normalisation == "image" and test.factors is None:
        raise ConfigError(
            "a lifter that predicts pixels cannot be judged by VideoPose3D's files",
            hint="MotionBERT's file has the factors that turn them into millimetres",
        )
    is_broken = np.array([name.startswith(BROKEN_VIDEOS) for name in test.video_names], np.bool_)[test.video_ids]
    clips = cut_clips(test.video_ids, clip_frames)
    clips = clips[~is_broken[clips[:, 0]]] if len(clips) else clips
    sums = _Sums(len(test))
    sizes = _sizes(test) if lifter.normalisation == "person" else None
    for start in range(0, len(clips), lifter.batch_size):
        rows = clips[start : start + lifter.batch_size]
        lifted = lifter(test.joints_px[rows], test.scores[rows], test.sizes_wh[rows[:, 0]])
        truth = test.truth_mm[rows].astype(np.float64)
        sums.add(rows, _millimetres(lifted, test, rows, sizes), truth - truth[..., :1, :])
        if progress is not None:
            progress(start + len(rows), len(clips))
    return _report(test, sums, clips, is_broken)


def cut_clips(video_ids: IntArray, clip_frames: int) -> IntArray:
    """Cut videos into clips as the module says.

    Args:
        video_ids: (N,), the same for frames of the same video, which follow each other.
        clip_frames: F.

    Returns:
        (M, F) frame indices.
    """
    borders = [0, *(np.flatnonzero(np.diff(video_ids)) + 1).tolist(), len(video_ids)]
    clips: list[IntArray] = []
    seen: set[int] = set()
    for start, stop in pairwise(borders if len(video_ids) else []):
        video, length = int(video_ids[start]), stop - start
        whole = length // clip_frames
        clips += list(start + np.arange(whole * clip_frames).reshape(whole, clip_frames))
        if not whole and video not in seen:
            clips.append(start + np.arange(clip_frames) * length // clip_frames)
        seen.add(video)
    return np.array(clips, np.int64).reshape(-1, clip_frames)


def _sizes(test: H36MTest) -> Reals:
    """For each video how many times the standard body its person is."""
    return np.array(
        [standard_size(test.truth_mm[test.video_ids == i].astype(np.float64)) for i in range(len(test.video_names))]
    )


def _millimetres(lifted: LiftedClips, test: H36MTest, rows: IntArray, sizes: Reals | None) -> Reals:
    if test.factors is not None and lifted.is_pixels:
        return lifted.joints * test.factors[rows][..., None, None]
    assert sizes is not None  # pixels without factors were refused
    return lifted.joints * sizes[test.video_ids[rows]][..., None, None]


class _Sums:
    """Errors added up by frame."""

    def __init__(self, num_frames: int) -> None:
        self._totals = {name: np.zeros(num_frames) for name in METRICS}
        self._counts = {name: np.zeros(num_frames, np.int64) for name in METRICS}
        self._joints = np.zeros(len(H36M17))
        self._num_poses = 0

    def add(self, rows: IntArray, predicted: Reals, truth: Reals) -> None:
        """(B, F) frames with (B, F, 17, 3) mm."""
        for name, measure in zip(METRICS, (mpjpe, p_mpjpe, n_mpjpe), strict=False):
            self._put(name, rows, measure(predicted, truth))
        # a step in time only where the next frame follows
        steps = np.where(np.diff(rows, axis=1) == 1, mpjve(predicted, truth), np.nan)
        self._put("mpjve_mm", rows[:, 1:], steps)
        self._joints += np.linalg.norm(predicted - truth, axis=-1).sum(axis=(0, 1))
        self._num_poses += rows.size

    def _put(self, name: str, rows: IntArray, errors: Reals) -> None:
        known = np.isfinite(errors)
        np.add.at(self._totals[name], rows[known], errors[known])
        np.add.at(self._counts[name], rows[known], 1)

    def is_judged(self, name: str = METRICS[0]) -> BoolArray:
        """(N,) frames with this metric."""
        return np.asarray(self._counts[name] > 0)

    def mean(self, name: str, frames: BoolArray) -> float | None:
        """Over frames, each the mean of its occurrences."""
        chosen = frames & self.is_judged(name)
        return float((self._totals[name][chosen] / self._counts[name][chosen]).mean()) if chosen.any() else None

    def per_joint(self) -> dict[str, float | None]:
        """Over all poses."""
        names = H36M17.joint_names
        return {
            n: float(v / self._num_poses) if self._num_poses else None for n, v in zip(names, self._joints, strict=True)
        }


def _report(test: H36MTest, sums: _Sums, clips: IntArray, is_broken: BoolArray) -> H36MReport:
    actions = sorted({test.actions[video] for video in np.unique(test.video_ids[clips]).tolist()})
    action_ids = np.array([actions.index(a) if a in actions else -1 for a in test.actions])[test.video_ids]
    per_action = {
        action: {name: sums.mean(name, action_ids == i) for name in METRICS} for i, action in enumerate(actions)
    }
    mean: dict[str, float | None] = {}
    for name in METRICS:
        values = [value for row in per_action.values() if (value := row[name]) is not None]
        mean[name] = float(np.mean(values)) if values else None
    judged = sums.is_judged()
    return H36MReport(
        per_action=per_action,
        mean=mean,
        per_joint_mm=sums.per_joint(),
        clip_frames=clips.shape[1],
        num_clips=len(clips),
        num_frames=int(judged.sum()),
        num_unseen=int((~judged & ~is_broken).sum()),
        num_broken=int(is_broken.sum()),
    )
