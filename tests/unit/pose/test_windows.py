"""Window plans cover every frame, and overlapping answers are merged by weight."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posecli.errors import ConfigError
from posecli.pose.windows import WindowMerger, WindowPlan


@settings(deadline=None, max_examples=60)
@given(num_frames=st.integers(1, 9), data=st.data(), length=st.integers(1, 60))
def test_every_frame_is_estimated(num_frames: int, data: st.DataObject, length: int) -> None:
    plan = WindowPlan(num_frames, data.draw(st.integers(1, num_frames)))
    seen = {int(f) for c in range(-(-length // plan.hop)) for f in plan.frames(c)}
    assert set(range(length)) <= seen


def test_key_mode_keeps_the_middle_frame_only() -> None:
    plan = WindowPlan(5, 1, "key")
    assert plan.frames(10).tolist() == [8, 9, 10, 11, 12]
    assert plan.merge_weights().tolist() == [0, 0, 1, 0, 0]


def test_clip_mode_weighs_the_middle_most_and_no_frame_nothing() -> None:
    weights = WindowPlan(5, 3).merge_weights()
    assert weights.argmax() == 2 and weights.min() > 0 and np.allclose(weights, weights[::-1])


@pytest.mark.parametrize(("hop", "mode"), [(0, "clip"), (6, "clip"), (2, "key")])
def test_impossible_plans_are_refused(hop: int, mode: str) -> None:
    with pytest.raises(ConfigError, match=f"hop {hop}"):
        WindowPlan(5, hop, mode)  # type: ignore[arg-type]


def test_overlapping_answers_are_averaged_by_weight_and_score() -> None:
    merger = WindowMerger(1)
    merger.add([7], np.array([[[0.0, 0.0]]], np.float32), np.array([[0.9]], np.float32), np.array([1.0], np.float32))
    merger.add([7], np.array([[[4.0, 8.0]]], np.float32), np.array([[0.3]], np.float32), np.array([1.0], np.float32))
    [(frame, points, scores)] = merger.pop_until(8)
    assert frame == 7
    assert np.allclose(points, [[1.0, 2.0]])
    assert np.allclose(scores, [0.6])
    assert merger.pop_until(100) == []


def test_frames_not_finished_survive_json_exactly() -> None:
    rng = np.random.default_rng(0)
    merger = WindowMerger(19)
    merger.add(
        [3, 4],
        rng.normal(size=(2, 19, 2)).astype(np.float32),
        rng.random((2, 19)).astype(np.float32),
        np.ones(2, np.float32),
    )
    again = WindowMerger.from_json(19, json.loads(json.dumps(merger.to_json())))
    for (frame_a, points_a, scores_a), (frame_b, points_b, scores_b) in zip(
        merger.pop_until(9), again.pop_until(9), strict=True
    ):
        assert frame_a == frame_b
        assert (points_a == points_b).all() and (scores_a == scores_b).all()
