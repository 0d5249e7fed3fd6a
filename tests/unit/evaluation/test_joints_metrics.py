"""3D joint metrics: cases worked out by hand, what they must not see, and slow obvious versions beside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from posecli.evaluation.joints import (
    AUC_THRESHOLDS_MM,
    PCK_JOINTS,
    auc,
    joints_report,
    mpjpe,
    mpjve,
    n_mpjpe,
    p_mpjpe,
    pck,
)
from posecli.skeletons import H36M17

ALL = (0, 1, 2)
seeds = st.integers(0, 2**32 - 1)


def poses(seed: int, frames: int = 6, joints: int = 17) -> Any:
    return np.random.default_rng(seed).normal(0, 300, (frames, joints, 3))


def turn(seed: int) -> Any:
    return Rotation.random(rng=np.random.default_rng(seed)).as_matrix()


# worked out by hand


def test_distances_by_hand() -> None:
    truth = np.zeros((2, 3, 3))
    predicted = truth.copy()
    predicted[0, 1] = [3, 4, 0]  # 5 mm
    predicted[0, 2] = [1, 2, 2]  # 3 mm
    predicted[1, 0] = [0, 0, 12]
    assert mpjpe(predicted, truth).tolist() == pytest.approx([8 / 3, 4])
    report = joints_report(predicted, truth, pck_joints=ALL)
    assert report["mpjpe_mm"] == pytest.approx(10 / 3)
    assert report["per_joint_mm"] == pytest.approx([6, 2.5, 1.5])
    assert report["frames"] == 2
    assert report["missing_joints"] == 0


def test_procrustes_by_hand() -> None:
    """A right triangle, turned by a quarter, doubled and moved: no error. With its third corner moved along z, some."""
    truth = np.array([[[0.0, 0, 0], [30, 0, 0], [0, 40, 0]]])
    predicted = 2 * np.stack([-truth[..., 1], truth[..., 0], truth[..., 2]], axis=-1) + [7, -8, 9]
    assert p_mpjpe(predicted, truth) == pytest.approx(0, abs=1e-9)
    # two joints at -a and a, one in the middle: the best fit of a line of length 2b on one of 2a is exact
    line, longer = (
        np.array([[[-10.0, 0, 0], [0, 0, 0], [10, 0, 0]]]),
        np.array([[[0, -25.0, 0], [0, 0, 0], [0, 25, 0]]]),
    )
    assert p_mpjpe(longer, line) == pytest.approx(0, abs=1e-9)
    # ... and a middle joint 3 off sideways: centred it is 2 off, its ends 1, each to be seen at scale 200 / 206
    bent = line + np.array([[[0.0, 0, 0], [0, 3, 0], [0, 0, 0]]])
    scale = 200 / 206
    ends = math.hypot(10 - 10 * scale, scale)
    assert p_mpjpe(bent, line) == pytest.approx((2 * ends + 2 * scale) / 3)


def test_a_reflection_is_not_a_rotation() -> None:
    truth = np.array([[[0.0, 0, 0], [10, 0, 0], [0, 20, 0], [0, 0, 30]]])
    reflected = truth * [-1, 1, 1]
    assert p_mpjpe(truth, truth) == pytest.approx(0, abs=1e-9)
    assert p_mpjpe(reflected, truth)[0] > 3


def test_best_scale_by_hand() -> None:
    """Twice too large along one axis, right along the other: s = (2 * 100 + 100) / (4 * 100 + 100) = 0.6."""
    truth = np.array([[[10.0, 0, 0], [0, 10, 0]]])
    predicted = np.array([[[20.0, 0, 0], [0, 10, 0]]])
    assert n_mpjpe(predicted, truth)[0] == pytest.approx((2 + 4) / 2)


def test_steps_by_hand() -> None:
    truth = np.zeros((4, 2, 3))
    truth[:, 0, 0] = [0, 1, 2, 3]
    predicted = np.full((4, 2, 3), 100.0)  # far away but still: only steps count
    predicted[2:, 1, 1] += 6
    # joint 0 is 1 mm a frame short each time; joint 1 makes one step of 6
    assert mpjve(predicted, truth).tolist() == pytest.approx([0.5, 3.5, 0.5])
    assert joints_report(predicted, truth, pck_joints=(0, 1))["mpjve_mm"] == pytest.approx(1.5)


def test_a_gap_has_no_step() -> None:
    truth = np.zeros((5, 1, 3))
    truth[:, 0, 0] = [0, 1, 999, 500, 502]
    is_valid = np.array([True, True, False, True, True])[:, None]
    steps = mpjve(np.zeros((5, 1, 3)), truth, is_valid)
    assert steps[[0, 3]].tolist() == [1, 2]
    assert np.isnan(steps[[1, 2]]).all()


def test_pck_and_auc_by_hand() -> None:
    truth = np.zeros((1, 4, 3))
    predicted = truth.copy()
    predicted[0, :, 0] = [0.0, 149.999, 150.0, 12.0]
    joints = (0, 1, 2, 3)
    assert pck(predicted, truth, joints=joints) == 75.0  # exactly 150 mm is wrong
    assert pck(predicted, truth, joints=(1, 2)) == 50.0
    assert pck(predicted, truth, joints=joints, limit_mm=12.0) == 25.0
    # of 31 limits: an exact joint is right at all but 0; 149.999 at 150 only; 150 never; 12 at 15, 20, ..., 150
    assert len(AUC_THRESHOLDS_MM) == 31
    assert auc(predicted, truth, joints=joints) == pytest.approx(100 * (30 + 1 + 0 + 28) / 31 / 4)
    assert auc(truth, truth, joints=joints) == pytest.approx(100 * 30 / 31)


def test_the_joints_of_pck_are_those_of_mpi_inf_3dhp() -> None:
    left_out = {H36M17.joint_names[i] for i in range(17)} - {H36M17.joint_names[i] for i in PCK_JOINTS}
    assert left_out == {"root", "spine", "neck"}
    assert len(PCK_JOINTS) == 14


# what is not known


def test_unknown_truth_is_left_out() -> None:
    truth, predicted = np.zeros((2, 3, 3)), np.zeros((2, 3, 3))
    predicted[..., 0] = [[3, 5, 1000], [9, 9, 9]]
    truth[0, 2] = np.nan
    is_valid = np.array([[True, True, True], [False, False, False]])
    assert mpjpe(predicted, truth, is_valid)[0] == 4
    assert np.isnan(mpjpe(predicted, truth, is_valid)[1])
    report = joints_report(predicted, truth, is_valid, pck_joints=ALL)
    assert report["mpjpe_mm"] == 4
    assert report["per_joint_mm"] == [3, 5, None]
    assert report["p_mpjpe_mm"] is None  # two joints
    assert report["mpjve_mm"] is None
    assert report["pck_150"] == 100
    assert report["frames"] == 1


def test_a_missing_prediction_is_wrong_but_has_no_distance() -> None:
    truth, predicted = np.zeros((1, 4, 3)), np.zeros((1, 4, 3))
    predicted[0, 1] = np.nan
    predicted[0, 2, 0] = 8
    report = joints_report(predicted, truth, pck_joints=(0, 1, 2, 3))
    assert report["mpjpe_mm"] == pytest.approx(8 / 3)
    assert report["pck_150"] == 75
    assert report["missing_joints"] == 1


def test_what_is_not_compared_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    truth, predicted = poses(1), poses(2)
    is_valid = rng.random((6, 17)) > 0.3
    other = np.where(is_valid[..., None], predicted, 1e6)
    for metric in (mpjpe, p_mpjpe, n_mpjpe, mpjve):
        np.testing.assert_allclose(metric(predicted, truth, is_valid), metric(other, truth, is_valid))
    few = [np.flatnonzero(row) for row in is_valid]
    alone = [p_mpjpe(predicted[t, few[t]], truth[t, few[t]]) for t in range(6)]
    np.testing.assert_allclose(p_mpjpe(predicted, truth, is_valid), alone)


def test_nothing_at_all() -> None:
    report = joints_report(np.zeros((0, 17, 3)), np.zeros((0, 17, 3)))
    assert report["frames"] == report["missing_joints"] == 0
    assert {report[key] for key in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck_150", "auc")} == {None}


def test_a_prediction_that_is_one_point() -> None:
    truth = np.array([[[0.0, 0, 0], [30, 0, 0], [0, 60, 0]]])
    point = np.full_like(truth, 5.0)
    assert p_mpjpe(point, truth)[0] == pytest.approx(np.linalg.norm(truth - truth.mean(axis=1), axis=-1).mean())
    assert n_mpjpe(np.zeros_like(truth), truth)[0] == pytest.approx(30)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(2, 17, 3\) and true ones \(17, 3\)"):
        mpjpe(np.zeros((2, 17, 3)), np.zeros((17, 3)))


# properties


@settings(max_examples=30, deadline=None)
@given(seed=seeds, scale=st.floats(0.1, 10), shift=st.floats(-2000, 2000))
def test_procrustes_forgives_similarities_only(seed: int, scale: float, shift: float) -> None:
    truth, predicted = poses(seed), poses(seed + 1)
    moved = scale * predicted @ turn(seed).T + shift
    np.testing.assert_allclose(p_mpjpe(moved, truth), p_mpjpe(predicted, truth), rtol=1e-6)
    np.testing.assert_allclose(p_mpjpe(scale * truth @ turn(seed).T + shift, truth), 0, atol=1e-6)
    assert (p_mpjpe(truth * [1, 1, -1], truth) > 1).all()


@settings(max_examples=30, deadline=None)
@given(seed=seeds, scale=st.floats(0.1, 10))
def test_the_best_scale_forgives_scale(seed: int, scale: float) -> None:
    truth, predicted = poses(seed), poses(seed + 1)
    np.testing.assert_allclose(n_mpjpe(scale * predicted, truth), n_mpjpe(predicted, truth), rtol=1e-9)
    assert (n_mpjpe(truth @ turn(seed).T, truth) > 1).all()


@settings(max_examples=30, deadline=None)
@given(seed=seeds, noise=st.floats(0.0, 0.3))
def test_alignment_does_not_hurt(seed: int, noise: float) -> None:
    """By the squared error never; by the mean error not for poses that are alike."""
    truth = poses(seed)
    predicted = truth * 1.1 @ Rotation.from_euler("z", 0.3).as_matrix().T + noise * poses(seed + 1) + 40
    assert (mpjpe(predicted, truth) >= p_mpjpe(predicted, truth)).all()


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_pck_and_auc_fall_as_errors_grow(seed: int) -> None:
    truth, error = poses(seed), poses(seed + 1) / 5
    near, far = truth + error, truth + 1.5 * error
    assert pck(near, truth) >= pck(far, truth)
    assert 100 * 30 / 31 >= auc(near, truth) >= auc(far, truth)


# slow and obvious


def slow_procrustes(predicted: Any, truth: Any) -> float:
    """By a general minimiser over a rotation vector, a scale and a shift."""

    def moved(x: Any) -> Any:
        return math.exp(x[3]) * predicted @ Rotation.from_rotvec(x[:3]).as_matrix().T + 100 * x[4:]

    def cost(x: Any) -> float:
        return float(((moved(x) - truth) ** 2).sum() / 1e4)

    rng = np.random.default_rng(0)
    starts = [np.r_[rng.normal(0, 1.5, 3), 0, 0, 0, 0] for _ in range(8)]
    best = min((minimize(cost, start, method="BFGS") for start in starts), key=lambda found: found.fun)
    return float(np.mean([math.dist(a, b) for a, b in zip(moved(best.x), truth, strict=True)]))


@pytest.mark.parametrize("seed", range(4))
def test_procrustes_against_a_minimiser(seed: int) -> None:
    truth = poses(seed, 1)[0]
    predicted = truth @ turn(seed).T * 0.8 + poses(seed + 9, 1)[0] / 4
    if seed == 3:
        predicted[:, 0] *= -1  # where the best orthogonal map is a reflection
    assert p_mpjpe(predicted, truth) == pytest.approx(slow_procrustes(predicted, truth), rel=1e-4)


def test_all_against_loops() -> None:
    rng = np.random.default_rng(5)
    truth, predicted = poses(5, 7), poses(6, 7)
    is_valid = rng.random((7, 17)) > 0.2
    near = truth + 0.4 * predicted

    def distance(t: int, j: int) -> float:
        return math.dist(near[t, j], truth[t, j])

    frames = [np.mean([distance(t, j) for j in range(17) if is_valid[t, j]]) for t in range(7)]
    steps = []
    for t in range(1, 7):
        both = [j for j in range(17) if is_valid[t, j] and is_valid[t - 1, j]]
        steps.append(np.mean([math.dist(near[t, j] - near[t - 1, j], truth[t, j] - truth[t - 1, j]) for j in both]))
    scaled = []
    for t in range(7):
        own = [j for j in range(17) if is_valid[t, j]]
        s = sum(near[t, j] @ truth[t, j] for j in own) / sum(near[t, j] @ near[t, j] for j in own)
        scaled.append(np.mean([math.dist(s * near[t, j], truth[t, j]) for j in own]))
    counted = [distance(t, j) for t in range(7) for j in PCK_JOINTS if is_valid[t, j]]
    shares = [100 * sum(d < limit for d in counted) / len(counted) for limit in range(0, 151, 5)]
    report = joints_report(near, truth, is_valid)
    assert report["mpjpe_mm"] == pytest.approx(np.mean(frames))
    assert report["mpjve_mm"] == pytest.approx(np.mean(steps))
    assert report["n_mpjpe_mm"] == pytest.approx(np.mean(scaled))
    assert report["pck_150"] == pytest.approx(shares[-1])
    assert report["auc"] == pytest.approx(np.mean(shares))


def test_batches_are_their_parts() -> None:
    truth, predicted = poses(1, 12).reshape(3, 4, 17, 3), poses(2, 12).reshape(3, 4, 17, 3)
    for metric in (mpjpe, p_mpjpe, n_mpjpe, mpjve):
        np.testing.assert_allclose(metric(predicted, truth), [metric(predicted[i], truth[i]) for i in range(3)])
