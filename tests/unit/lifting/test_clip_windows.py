"""Windows cover every frame and are merged without seams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posecli.lifting.clip_windows import ClipMerger, centre_weights, window_starts


def test_starts_by_hand() -> None:
    assert window_starts(5, 10, 3) == [0]
    assert window_starts(10, 10, 3) == [0]
    assert window_starts(11, 10, 3) == [0, 1]
    assert window_starts(24, 10, 3) == [0, 7, 14]
    assert window_starts(25, 10, 3) == [0, 7, 14, 15]
    assert centre_weights(5).tolist() == [1, 2, 3, 2, 1]
    with pytest.raises(ValueError, match="windows of 4 frames cannot share 4"):
        window_starts(9, 4, 4)


@given(frames=st.integers(1, 400), window=st.integers(2, 60), data=st.data())
def test_what_windows_agree_on_comes_back(frames: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    truth = np.random.default_rng(frames).normal(size=(frames, 2, 3)).astype(np.float32)
    length = min(window, frames)
    starts = window_starts(frames, window, overlap)
    merger = ClipMerger(frames, (2, 3))
    for start in starts:
        assert 0 <= start <= frames - length
        merger.add(start, truth[start : start + length])
    assert np.abs(merger.merged() - truth).max() < 1e-6
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= window - overlap).all()


def test_windows_that_disagree_fade_into_each_other() -> None:
    merger = ClipMerger(170, (1,))
    for value, start in enumerate(window_starts(170, 100, 30)):
        merger.add(start, np.full((100, 1), value, np.float32))
    merged = merger.merged()[:, 0]
    assert merged[69] == 0.0
    assert merged[100] == 1.0
    assert 0.0 < np.diff(merged[69:101]).max() < 1.5 / 31


def test_a_frame_without_an_answer_is_our_own_fault() -> None:
    merger = ClipMerger(5, (1,))
    merger.add(0, np.ones((3, 1), np.float32))
    with pytest.raises(ValueError, match="no window covers frame 3"):
        merger.merged()
