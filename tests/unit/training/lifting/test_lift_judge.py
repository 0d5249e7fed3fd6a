"""Judging lifters: a perfect one is perfect, a biased one as wrong as it is, and clips of several lengths count by their frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from posecli.training.lifting.clips import LiftSample, mirror
from posecli.training.lifting.judge import batches_of, judge, keypoint_error_mm, mirrored


def sample(frames: int, seed: int) -> LiftSample:
    """A clip of points anywhere, seen from straight ahead: y and z are functions of x."""
    joints = np.random.default_rng(seed).normal(size=(frames, 17, 2)).astype(np.float32) * 100
    target = np.concatenate([joints, joints[..., 1:]], axis=-1)
    target -= target[:, :1]
    return LiftSample("clip", joints, np.ones((frames, 17), np.float32), target, target[:, 0], (640, 480), 500.0)


def perfect(samples: list[LiftSample], offset_mm: float = 0.0) -> object:
    """A lifter that knows the scale of a clip from its inputs."""

    def lift(inputs: Tensor) -> Tensor:
        lifted = []
        for clip in inputs:
            found = next(
                true
                for known in samples
                if len(known) == len(clip)
                for true in (known.target_mm, mirror(known.target_mm))
                if np.allclose(ratio(clip, true), 1.0, atol=1e-3)
            )
            lifted.append(torch.from_numpy(found / 1000.0))
        moved = torch.stack(lifted)
        moved[:, :, 1:, 2] += offset_mm / 1000.0
        return moved

    return lift


def ratio(clip: Tensor, true: np.ndarray) -> np.ndarray:
    """Of the shapes, whatever their size."""
    shape = clip[:, 1:, :2].numpy()
    expected = true[:, 1:, :2]
    return np.asarray((shape / np.linalg.norm(shape)) / (expected / np.linalg.norm(expected)))


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_perfect_lifter_is_perfect(is_mirrored: bool) -> None:
    samples = [sample(5, 0), sample(3, 1), sample(5, 2)]
    report = judge(perfect(samples), samples, is_mirrored=is_mirrored)  # type: ignore[arg-type]
    assert report["mpjpe_mm"] == pytest.approx(0.0, abs=1e-3)
    assert report["frames"] == 13


def test_an_offset_is_found_in_millimetres() -> None:
    samples = [sample(4, 0)]
    report = judge(perfect(samples, offset_mm=17.0), samples, is_mirrored=False)  # type: ignore[arg-type]
    assert report["mpjpe_mm"] == pytest.approx(16.0, abs=1e-3)  # the root is 0 in both: 16 of 17 joints
    assert report["mpjve_mm"] == pytest.approx(0.0, abs=1e-3)


def test_mirroring_twice_changes_nothing() -> None:
    joints = torch.randn(2, 3, 17, 3)
    assert torch.equal(mirrored(mirrored(joints)), joints)
    assert not torch.equal(mirrored(joints), joints)


def test_batches_hold_clips_of_one_length() -> None:
    samples = [sample(5, 0), sample(300, 1), sample(5, 2), *(sample(400, 3) for _ in range(3))]
    lengths = [[len(clip) for clip in group] for group in batches_of(samples)]
    assert lengths == [[5, 5], [300], [400, 400], [400]]


def test_keypoints_are_off_by_what_they_were_moved_relative_to_the_root() -> None:
    true = sample(4, 0)
    true.root_mm[:, 2] = 2000.0  # at a focal length of 500 px, a pixel is 4 mm there
    joints = true.joints_px + np.float32(50.0)  # all of them, the root too: no difference
    joints[:, 3, 0] += 17.0
    joints[:, 5] = np.nan
    noisy = replace(true, joints_px=joints)
    assert keypoint_error_mm([true], [true]) == 0.0
    assert keypoint_error_mm([true], [noisy]) == pytest.approx(17.0 * 4.0 / 16, rel=1e-4)
