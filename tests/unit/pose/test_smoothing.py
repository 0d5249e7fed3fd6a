"""Smoothing takes away what is not motion, and nothing else."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from posecli.errors import ConfigError
from posecli.pose.smoothing import SmoothingConfig, jitter, smooth_sequence
from posecli.records import PoseSequence

Times = NDArray[np.float64]
_NO_ADAPTING = SmoothingConfig(noise_size=10.0)
"""With noise believed to be enormous nothing counts as fast motion: the bare low-pass."""


def track(
    x: NDArray[np.floating], *, scores: NDArray[np.floating] | None = None, frames: NDArray[np.int64] | None = None
) -> PoseSequence:
    """One keypoint that moves along x in a box of 100 x 100 px."""
    points = np.stack([np.asarray(x), np.full(len(x), 50.0)], axis=1)[:, None].astype(np.float32)
    rows = len(x)
    return PoseSequence(
        track_id=0,
        skeleton="posecli19",
        frame_indices=np.arange(rows, dtype=np.int64) if frames is None else frames,
        keypoints=points,
        raw_keypoints=points.copy(),
        scores=np.ones((rows, 1), np.float32) if scores is None else np.asarray(scores, np.float32).reshape(rows, 1),
        boxes=np.tile(np.array([0, 0, 100, 100], np.float32), (rows, 1)),
        box_scores=np.ones(rows, np.float32),
        interpolated=np.zeros(rows, np.bool_),
    )


def smoothed(x: NDArray[np.floating], times: Times, config: SmoothingConfig | None = None) -> NDArray[np.float64]:
    return smooth_sequence(track(x), times, config).keypoints[:, 0, 0].astype(np.float64)


def gain(frequency_hz: float, fps: float) -> float:
    times = np.arange(int(6 * fps)) / fps
    wave = 20.0 * np.sin(2 * np.pi * frequency_hz * times)
    inner = slice(len(times) // 4, -len(times) // 4)
    result = smoothed(wave, times, _NO_ADAPTING)[inner]
    return float(result @ wave[inner] / (wave[inner] @ wave[inner]))


@pytest.mark.parametrize("fps", [10.0, 29.97, 60.0, 120.0])
def test_even_motion_is_unchanged(fps: float) -> None:
    times = np.arange(200) / fps
    x = 1500.0 + 130.0 * times
    np.testing.assert_allclose(smoothed(x, times), x, atol=1e-3)


@pytest.mark.parametrize("fps", [30.0, 60.0, 120.0])
def test_the_gain_is_the_documented_one(fps: float) -> None:
    for frequency in (1.0, 3.0, 6.0, 9.0):
        # As differences over frames see it; the continuous formula of the module is its limit.
        ratio = np.sin(np.pi * frequency / fps) / np.sin(np.pi * 6.0 / fps)
        assert gain(frequency, fps) == pytest.approx(1.0 / (1.0 + (np.sqrt(2) - 1) * ratio**4), abs=0.01)
    assert gain(6.0, fps) == pytest.approx(np.sqrt(0.5), abs=0.01)


@pytest.mark.parametrize("fps", [24.0, 30.0, 60.0, 120.0])
def test_motion_below_the_cutoff_keeps_its_amplitude(fps: float) -> None:
    assert gain(0.5 * 6.0, fps) > 0.95


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_white_jitter_shrinks_by_more_than_60_percent(fps: float) -> None:
    rng = np.random.default_rng(3)
    times = np.arange(600) / fps
    noisy = track(100.0 * times + rng.normal(0.0, 1.0, 600))
    smooth = smooth_sequence(noisy, times)
    before, after = (jitter(points, times, noisy.boxes) for points in (noisy.keypoints, smooth.keypoints))
    assert after < 0.4 * before
    np.testing.assert_array_equal(smooth.raw_keypoints, noisy.keypoints)


def test_noise_gets_closer_to_the_truth() -> None:
    rng = np.random.default_rng(4)
    times = np.arange(600) / 60.0
    truth = 30.0 * np.sin(2 * np.pi * 1.0 * times)
    noisy = truth + rng.normal(0.0, 1.5, 600)
    error = [float(np.sqrt(np.mean((x - truth) ** 2))) for x in (noisy, smoothed(noisy, times))]
    assert error[1] < 0.65 * error[0]


@pytest.mark.parametrize("size", [20.0, 60.0, 400.0])
def test_a_single_outlier_is_removed(size: float) -> None:
    times = np.arange(90) / 30.0
    truth = 25.0 * np.sin(2 * np.pi * 1.0 * times)
    hit = truth.copy()
    hit[40] += size
    np.testing.assert_allclose(smoothed(hit, times), smoothed(truth, times), atol=1.0)


def test_fast_motion_is_not_over_smoothed() -> None:
    """A wrist swings 0.6 of a box at 5 Hz for half a second in a calm track: the bare low-pass would lose a fifth of it."""
    rng = np.random.default_rng(5)
    times = np.arange(240) / 60.0
    burst = np.where((times > 2.0) & (times < 2.6), 30.0 * np.sin(2 * np.pi * 5.0 * (times - 2.0)), 0.0)
    noisy = burst + rng.normal(0.0, 0.5, 240)
    during, calm = (times > 2.0) & (times < 2.6), (times < 1.5)
    kept = smoothed(noisy, times)
    bare = smoothed(noisy, times, _NO_ADAPTING)
    assert np.abs(kept - burst)[during].mean() < 0.35 * np.abs(bare - burst)[during].mean()
    assert kept[during].max() > 0.95 * 30.0
    assert np.abs(kept - burst)[calm].mean() < 0.75 * np.abs(noisy - burst)[calm].mean()


def test_there_is_no_lag() -> None:
    rng = np.random.default_rng(6)
    times = np.arange(400) / 50.0
    x = np.cumsum(np.convolve(rng.normal(size=420), np.ones(21) / 21, mode="valid"))
    result = smoothed(x, times)
    a, b = x - x.mean(), result - result.mean()
    correlation = [float(a[10 + lag : 390 + lag] @ b[10:390]) for lag in range(-10, 11)]
    assert int(np.argmax(correlation)) == 10
    np.testing.assert_allclose(smoothed(x[::-1].copy(), times)[::-1], result, atol=1e-3)


def test_a_variable_frame_rate_gives_what_an_even_one_gives() -> None:
    rng = np.random.default_rng(8)
    steps = rng.choice([1 / 60, 1 / 30, 1 / 20], 300)
    uneven = np.concatenate([[0.0], np.cumsum(steps)])
    even = np.arange(0.0, uneven[-1], 1 / 60)

    def wave(times: Times) -> Times:
        return 20.0 * np.sin(2 * np.pi * 1.5 * times) + 5.0 * np.sin(2 * np.pi * 4.0 * times)

    on_even = np.interp(uneven, even, smoothed(wave(even), even, _NO_ADAPTING))
    np.testing.assert_allclose(smoothed(wave(uneven), uneven, _NO_ADAPTING)[10:-10], on_even[10:-10], atol=1.0)


def test_missing_points_stay_missing_and_do_not_disturb() -> None:
    times = np.arange(60) / 30.0
    x = 40.0 * times
    x[20:23] = np.nan
    scores = np.ones(60)
    scores[30] = 0.0
    x[30] = 9999.0
    result = smooth_sequence(track(x, scores=scores), times).keypoints[:, 0, 0]
    assert np.isnan(result[20:23]).all()
    assert result[30] == 9999.0
    seen = np.isfinite(x) & (scores > 0)
    np.testing.assert_allclose(result[seen], 40.0 * times[seen], atol=1e-3)


def test_a_keypoint_never_seen_stays_unseen() -> None:
    times = np.arange(10) / 30.0
    assert np.isnan(smoothed(np.full(10, np.nan), times)).all()


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5])
def test_short_tracks_pass(rows: int) -> None:
    times = np.arange(rows) / 30.0
    x = 10.0 * times
    np.testing.assert_allclose(smoothed(x, times), x, atol=1e-3)


def test_nothing_is_smoothed_across_a_gap() -> None:
    """Each side of the gap comes out as it would alone; so do a run of one row and one of two."""
    rng = np.random.default_rng(9)
    runs = [np.arange(0, 50), np.arange(90, 140), np.array([200]), np.array([260, 261])]
    frames = np.concatenate(runs).astype(np.int64)
    x = rng.normal(0.0, 2.0, len(frames)) + np.repeat([0.0, 300.0, -50.0, 80.0], [len(run) for run in runs])
    times = np.arange(300) / 30.0
    # Noise fixed by the floor, so that the runs share no statistics.
    together = smooth_sequence(track(x, frames=frames), times, _NO_ADAPTING).keypoints[:, 0, 0]
    start = 0
    for run in runs:
        rows = slice(start, start + len(run))
        alone = smooth_sequence(track(x[rows], frames=run.astype(np.int64)), times, _NO_ADAPTING).keypoints[:, 0, 0]
        np.testing.assert_allclose(together[rows], alone, atol=1e-3)
        start += len(run)


def test_a_low_score_weighs_less() -> None:
    times = np.arange(61) / 30.0
    x = np.zeros(61)
    x[30:32] = 6.0
    sure, unsure = np.ones(61), np.ones(61)
    unsure[30:32] = 0.1
    heights = [smooth_sequence(track(x, scores=s), times, _NO_ADAPTING).keypoints[30, 0, 0] for s in (sure, unsure)]
    assert heights[1] < 0.5 * heights[0]


def test_time_starts_at_the_first_frame_of_the_table() -> None:
    x = np.random.default_rng(1).normal(size=30)
    times = np.arange(30) / 30.0
    shifted = track(x, frames=np.arange(100, 130))
    result = smooth_sequence(shifted, times, first_frame_index=100)
    np.testing.assert_array_equal(result.keypoints, smooth_sequence(track(x), times).keypoints)
    with pytest.raises(ValueError, match="frames 100 to 129, time_s covers 0 to 29"):
        smooth_sequence(shifted, times)


def test_repeated_timestamps_do_no_harm() -> None:
    times = np.arange(40) / 30.0
    times[20] = times[19]
    assert np.isfinite(smoothed(np.arange(40.0), times)).all()
    with pytest.raises(ValueError, match="does not ascend"):
        smoothed(np.arange(40.0), times[::-1].copy())


def test_jitter_of_even_motion_is_zero_and_is_relative_to_the_box() -> None:
    times = np.arange(30) / 30.0
    even = track(50.0 * times)
    assert jitter(even.keypoints, times, even.boxes) == pytest.approx(0.0, abs=1e-2)
    rough = track(np.random.default_rng(0).normal(size=30))
    assert jitter(rough.keypoints, times, 2.0 * rough.boxes) == pytest.approx(
        jitter(rough.keypoints, times, rough.boxes) / 2.0
    )
    assert jitter(rough.keypoints[:2], times[:2], rough.boxes[:2]) == 0.0


def test_jitter_skips_gaps_and_missing_points() -> None:
    times = np.concatenate([np.arange(10) / 30.0, 5.0 + np.arange(10) / 30.0])
    x = np.concatenate([np.zeros(10), np.full(10, 500.0)])
    x[3] = np.nan
    jumped = track(x)
    assert jitter(jumped.keypoints, times, jumped.boxes) == 0.0


def test_a_config_checks_itself() -> None:
    with pytest.raises(ConfigError, match="cutoff_hz is 0"):
        SmoothingConfig(cutoff_hz=0)


def test_memory_is_in_proportion_to_the_frames() -> None:
    """Clocks lie on a busy machine; a dense matrix anywhere would show here as well."""
    rng = np.random.default_rng(2)

    def peak_bytes(rows: int) -> int:
        times, sequence = np.arange(rows) / 30.0, track(rng.normal(size=rows))
        tracemalloc.start()
        try:
            smooth_sequence(sequence, times)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(1_000)
    assert peak_bytes(100_000) < 12 * peak_bytes(10_000)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 60),
    scale=st.sampled_from([1e-2, 1.0, 1e3]),
    shift=st.floats(-1e4, 1e4),
    cutoff=st.sampled_from([0.5, 6.0, 50.0]),
)
def test_any_track_comes_out_finite_and_moves_along_when_it_is_moved(
    seed: int, rows: int, scale: float, shift: float, cutoff: float
) -> None:
    rng = np.random.default_rng(seed)
    frames = np.cumsum(rng.integers(1, 8, rows))
    times = np.cumsum(rng.uniform(0.001, 0.2, int(frames[-1]) + 1))
    sequence = track(scale * rng.normal(size=rows), scores=rng.random(rows), frames=frames)
    config = SmoothingConfig(cutoff_hz=cutoff)
    result = smooth_sequence(sequence, times, config)
    assert np.isfinite(result.keypoints).all()
    moved = replace(sequence, keypoints=(sequence.keypoints + np.float32(shift)).astype(np.float32))
    expected = result.keypoints + np.float32(shift)
    tolerance = 0.02 * scale + 0.05  # float32 positions near 1e4 are coarse, and thresholds may tip
    close = np.abs(smooth_sequence(moved, times, config).keypoints - expected) < tolerance
    assert close.mean() > 0.9
