"""Sets of people: stills from memory, stretches of rendered windows from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posecli.errors import ConfigError, FormatError
from posecli.training.people import Rendered, Stills
from posecli.training.recipe import DataConfig, RenderedConfig
from posecli.training.sample import Sample
from posecli.training.stills import load_stills
from posecli.training.synthetic.shards import shard_name, write_shard
from posecli.training.synthetic.window import RenderedWindow


def grey_window(number: int) -> RenderedWindow:
    """Five grey frames of growing brightness; each point's x is the frame's number, and ankles are outside the picture."""
    images = np.stack([np.full((40, 30, 3), 20 * number + 4 * t, np.uint8) for t in range(5)])
    keypoints = np.zeros((5, 19, 2), np.float32)
    keypoints[..., 0] = np.arange(5)[:, None]
    visibility = np.full((5, 19), 2, np.uint8)
    visibility[:, 7], visibility[:, 15:17] = 1, 0
    boxes = np.tile(np.array([2, 3, 20, 30], np.float32), (5, 1))
    return RenderedWindow(images, keypoints, visibility, boxes, np.zeros((5, 19, 3), np.float32), 30.0, "recorded")


@pytest.fixture
def windows(tmp_path: Path) -> Path:
    """A data folder with three windows in ``rendered/``."""
    (tmp_path / "rendered").mkdir()
    write_shard([grey_window(number) for number in range(3)], tmp_path / "rendered" / shard_name(0))
    return tmp_path


def test_a_stretch_has_consecutive_frames_with_their_own_labels(windows: Path) -> None:
    people = Rendered(RenderedConfig("rendered"), windows)
    starts = set()
    for seed in range(30):
        sample = people.draw(np.random.default_rng(seed), 3)
        first = sample.keypoints[:, 0, 0]
        assert np.array_equal(np.diff(first), [1, 1])
        assert [int(image.mean()) % 20 // 4 for image in sample.images] == first.astype(int).tolist()
        starts.add(int(first[0]))
    assert starts == {0, 1, 2}


def test_hidden_points_are_labelled_and_points_outside_are_not(windows: Path) -> None:
    sample = Rendered(RenderedConfig("rendered"), windows).draw(np.random.default_rng(0), 5)
    assert sample.is_labelled[:, 7].all()
    assert not sample.is_labelled[:, 15:17].any()


def test_the_count_limits_what_is_drawn(windows: Path) -> None:
    people = Rendered(RenderedConfig("rendered", count=1), windows)
    assert len(people) == 1
    assert {int(people.draw(np.random.default_rng(seed), 5).images[0].mean()) for seed in range(9)} == {0}
    with pytest.raises(ConfigError, match="3 windows, the recipe wants 4"):
        Rendered(RenderedConfig("rendered", count=4), windows)


def test_windows_too_short_or_absent_are_refused(windows: Path) -> None:
    with pytest.raises(ConfigError, match="windows of 5"):
        Rendered(RenderedConfig("rendered"), windows).draw(np.random.default_rng(0), 6)
    with pytest.raises(FormatError, match="no rendered windows"):
        Rendered(RenderedConfig("absent"), windows)


def test_stills_come_from_memory() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    samples = [
        Sample((picture,), np.zeros((1, 4), np.float32), np.full((1, 19, 2), n, np.float32), np.ones((1, 19), bool))
        for n in range(3)
    ]
    drawn = {float(Stills(samples).draw(np.random.default_rng(seed), 5).keypoints[0, 0, 0]) for seed in range(20)}
    assert drawn == {0.0, 1.0, 2.0}


def test_wrong_labels_can_be_left_out_by_their_ids(drawn_set: Path) -> None:
    whole = load_stills(DataConfig("set.json", "images"), drawn_set)
    part = load_stills(DataConfig("set.json", "images", leave_out=(0, 11)), drawn_set)
    assert len(part) == len(whole) - 2
    assert np.array_equal(part[0].keypoints, whole[1].keypoints)
    with pytest.raises(ConfigError, match="no annotation 77"):
        load_stills(DataConfig("set.json", "images", leave_out=(77,)), drawn_set)
