"""The noise has the statistics that it is told to have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posecli.lifting.normalise import normalise_person
from posecli.skeletons import H36M17
from posecli.training.lifting.bones import rebuild_trunk
from posecli.training.lifting.noise import KIND_OF, LEGS, NOISY, NoiseModel, bursts, correlated, person_size

QUIET = NoiseModel(
    spread=(0.0,) * 7, lost_share=(0.0,) * 7, missing_rate=0.0, swap_rate=0.0, outside_missing=0.0, level=0.0, clip=0.0
)
SIZE = (10_000, 10_000)


def joints(frames: int) -> np.ndarray:
    """(F, 17, 2): the same pose, its box 300 by 400 px; left and right far apart."""
    places = np.random.default_rng(3).uniform(2000, 2300, (17, 2)) * [1, 1]
    places[[3, 10]] = (2000, 2400), (2300, 2000)
    return np.tile(rebuild_trunk(places[None].astype(np.float32)), (frames, 1, 1))


def test_a_process_is_as_correlated_as_asked() -> None:
    values = correlated(np.random.default_rng(0), (400, 300), 0.9)
    assert values.std() == pytest.approx(1.0, abs=0.03)
    assert (values[:-1] * values[1:]).mean() == pytest.approx(0.9, abs=0.04)
    assert values[0].std() == pytest.approx(1.0, abs=0.15)
    assert (values[:-5] * values[5:]).mean() == pytest.approx(0.9**5, abs=0.05)


def test_bursts_begin_as_often_and_last_as_long_as_asked() -> None:
    found = bursts(np.random.default_rng(0), (20_000, 10), 0.002, 6.0)
    begins = (~found[:-1] & found[1:]).sum()
    assert begins / found.size == pytest.approx(0.002, rel=0.1)
    assert found.sum() / begins == pytest.approx(6.0, rel=0.1)
    each = bursts(np.random.default_rng(0), (20_000, 2), np.array([0.0, 0.002]), 6.0)
    assert not each[:, 0].any()
    assert each[:, 1].any()


def test_bursts_cover_the_first_frames_like_all_others() -> None:
    found = np.stack([bursts(np.random.default_rng(seed), (30, 10), 0.02, 8.0) for seed in range(200)])
    assert found[:, 0].mean() == pytest.approx(found[:, -1].mean(), abs=0.03)


def test_no_noise_changes_nothing() -> None:
    exact = joints(30)
    noisy, _ = QUIET.apply(np.random.default_rng(0), exact, size_wh=SIZE)
    assert noisy == pytest.approx(exact)


def test_errors_are_as_large_as_asked_and_go_with_the_size_of_the_person() -> None:
    spread = (0.01, 0.02, 0.03, 0.005, 0.015, 0.025, 0.035)
    model = replace(QUIET, spread=spread, burst=0.0, correlation=0.5)
    rng = np.random.default_rng(0)
    for scale in (1.0, 0.5):
        exact = joints(4000) * np.float32(scale)
        noisy, _ = model.apply(rng, exact, size_wh=SIZE)
        errors = (noisy - exact)[:, NOISY] / person_size(exact)
        for kind, value in enumerate(spread):
            assert errors[:, kind == KIND_OF].std() == pytest.approx(value, rel=0.08)


def test_the_person_is_as_large_as_for_the_network() -> None:
    exact = joints(20) + np.random.default_rng(0).normal(0, 9, (20, 17, 2)).astype(np.float32)
    assert person_size(exact) == pytest.approx(normalise_person(exact, np.ones((20, 17), np.float32)).scale_px)


def test_joints_are_lost_as_often_as_asked() -> None:
    model = replace(QUIET, lost_share=(0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.1), lost_frames=8.0, lost_spread=0.2)
    errors = model.draw_errors(np.random.default_rng(0), 20_000)
    lost = np.abs(errors).max(axis=-1) > 0
    for kind, share in enumerate(model.lost_share):
        assert lost[:, kind == KIND_OF].mean() == pytest.approx(share, abs=0.02)
    assert errors[lost].std() == pytest.approx(0.2, rel=0.1)


def test_bad_clips_are_bad_throughout() -> None:
    model = replace(QUIET, spread=(0.01,) * 7, burst=0.0, clip=0.8)
    rng = np.random.default_rng(0)
    spreads = [np.log(model.draw_errors(rng, 400).std()) for _ in range(150)]
    assert np.std(spreads) == pytest.approx(0.8, rel=0.2)
    easier = replace(model, level=-1.0)
    assert np.mean([np.log(easier.draw_errors(rng, 400).std()) for _ in range(150)]) < np.mean(spreads) - 0.6


def test_scores_follow_the_error() -> None:
    model = replace(QUIET, spread=(0.04,) * 7, burst=0.5)
    exact = joints(3000)
    noisy, scores = model.apply(np.random.default_rng(0), exact, size_wh=SIZE)
    lengths = np.linalg.norm((noisy - exact)[:, NOISY], axis=-1) / person_size(exact)
    values = scores[:, NOISY]
    bins = np.searchsorted(model.error_edges, lengths)
    for number, quantiles in enumerate(model.score_quantiles):
        inside = values[bins == number]
        assert np.median(inside) == pytest.approx(quantiles[3], abs=0.04)
        assert inside.min() >= quantiles[0] - 1e-6
        assert inside.max() <= quantiles[-1] + 1e-6
    assert values[lengths < 0.02].mean() > values[lengths > 0.08].mean() + 0.2


def test_missing_joints_are_nan_with_score_0_and_so_is_the_trunk_between_them() -> None:
    model = replace(QUIET, missing_rate=0.02, missing_frames=5.0)
    noisy, scores = model.apply(np.random.default_rng(0), joints(2000), size_wh=SIZE)
    missing = np.asarray(np.isnan(noisy).any(axis=-1))
    assert np.array_equal(missing, scores == 0)
    assert missing[:, NOISY].mean() == pytest.approx(0.09, abs=0.02)
    index = H36M17.joint_names.index
    hips = missing[:, index("left_hip")] | missing[:, index("right_hip")]
    assert np.array_equal(missing[:, index("root")], hips)
    assert np.array_equal(scores[:, index("root")], scores[:, [index("left_hip"), index("right_hip")]].min(axis=1))


def test_joints_outside_the_picture_may_be_missing() -> None:
    exact = joints(50)
    noisy, _ = replace(QUIET, outside_missing=1.0).apply(np.random.default_rng(0), exact, size_wh=(2150, 5000))
    outside = np.asarray((exact > [2149.5, 4999.5]).any(axis=-1))
    assert np.array_equal(np.isnan(noisy[:, NOISY]).any(axis=-1), outside[:, NOISY])


def test_confused_sides_are_exchanged_together() -> None:
    exact = joints(30_000)
    noisy, _ = replace(QUIET, swap_rate=0.01, swap_frames=4.0).apply(np.random.default_rng(0), exact, size_wh=SIZE)
    left, right = LEGS
    is_swapped = (noisy[:, left] == exact[:, right]).all(axis=(1, 2))
    is_straight = (noisy[:, left] == exact[:, left]).all(axis=(1, 2))
    assert np.array_equal(is_swapped, ~is_straight)
    assert is_swapped.mean() == pytest.approx(0.04, abs=0.006)
    assert np.array_equal(noisy[:, 0], exact[:, 0])  # the middle of the hips stays


def test_noise_depends_on_the_generator_only() -> None:
    first = NoiseModel().apply(np.random.default_rng(7), joints(60), size_wh=SIZE)
    second = NoiseModel().apply(np.random.default_rng(7), joints(60), size_wh=SIZE)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))
