"""Augmented windows: points stay on what they mark, flips exchange left and right, seeds decide everything."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.pose.heads import HEAD_POINTS
from posecli.skeletons import POSECLI19
from posecli.training.augment import make_window
from posecli.training.recipe import AugmentConfig, DataConfig
from posecli.training.sample import Sample
from posecli.training.stills import load_stills

NECK, TOP = POSECLI19.index("neck"), POSECLI19.index("head_top")
CALM = AugmentConfig(**{field.name: 0.0 for field in fields(AugmentConfig)})


def spotted(colour_point: int) -> Sample:
    """A black picture with one red spot under one keypoint; what lies beyond its border is grey."""
    image = np.zeros((200, 160, 3), np.uint8)
    points = np.random.default_rng(3).uniform(40, 120, (19, 2)).astype(np.float32)
    x, y = points[colour_point].round().astype(int)
    points[colour_point] = x, y
    image[y - 2 : y + 3, x - 2 : x + 3] = 255, 0, 0
    box = np.array([[20, 20, 140, 180]], np.float32)
    return Sample((image,), box, points[None], np.ones((1, 19), np.bool_))


def centroid(image: np.ndarray) -> np.ndarray:
    """Of the red light."""
    light = image[..., 0].astype(float) - image[..., 1]
    ys, xs = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(xs * light).sum(), (ys * light).sum()]) / light.sum()


@pytest.mark.parametrize("seed", range(6))
def test_points_move_with_the_picture(seed: int) -> None:
    config = replace(CALM, flip=0.5, rotation_deg=40.0, rotation_probability=1.0, scale=0.1, shift=0.02, drift=0.02)
    wrists = [9, 10]  # a flip makes the left one the right one
    window = make_window(spotted(wrists[0]), config, num_frames=3, crop_hw=(192, 160), rng=np.random.default_rng(seed))
    for image, points in zip(window.images, window.keypoints, strict=True):
        assert np.linalg.norm(points[wrists] - centroid(image), axis=1).min() < 1.0


def test_a_flip_exchanges_left_and_right() -> None:
    still = spotted(9)
    plain = make_window(still, CALM, num_frames=1, crop_hw=(192, 160), rng=np.random.default_rng(0))
    flipped = make_window(
        still, replace(CALM, flip=1.0), num_frames=1, crop_hw=(192, 160), rng=np.random.default_rng(0)
    )
    mirrored = plain.keypoints[0, POSECLI19.flip_indices] * [-1, 1] + [159, 0]
    assert np.allclose(flipped.keypoints[0], mirrored, atol=1e-3)


def test_the_same_seed_gives_the_same_window() -> None:
    windows = [
        make_window(spotted(9), AugmentConfig(), num_frames=2, crop_hw=(64, 64), rng=np.random.default_rng(5))
        for _ in "ab"
    ]
    assert (windows[0].images == windows[1].images).all()
    assert np.array_equal(windows[0].keypoints, windows[1].keypoints)


def test_frames_of_a_window_share_light_and_differ_in_motion() -> None:
    still = replace(spotted(9), images=(np.random.default_rng(0).integers(0, 255, (200, 160, 3), np.uint8),))
    config = replace(CALM, colour=0.5, drift=0.03)
    window = make_window(still, config, num_frames=3, crop_hw=(96, 64), rng=np.random.default_rng(1))
    means = window.images.reshape(3, -1).mean(axis=1)
    assert np.ptp(means) < 12
    assert np.abs(window.images[0].astype(int) - window.images[2]).mean() > 5


def test_stills_keep_points_on_the_picture_and_obey_the_holdout(drawn_set: Path) -> None:
    config = DataConfig("set.json", "images")
    people = load_stills(config, drawn_set)
    assert len(people) == 12
    assert len(load_stills(replace(config, holdout_modulo=5), drawn_set)) == 9  # ids 0, 5, 10 are held out
    for still in people:
        height, width = still.images[0].shape[:2]
        assert (still.keypoints >= -1).all() and (still.keypoints <= [width, height]).all()


@pytest.mark.parametrize("seed", range(6))
def test_pulled_limbs_carry_their_points_along(seed: int) -> None:
    """The spot under a point stays under it, and the frames are no longer copies of each other."""
    config = replace(CALM, limb_motion=0.03)
    window = make_window(spotted(9), config, num_frames=5, crop_hw=(192, 160), rng=np.random.default_rng(seed))
    for image, points in zip(window.images, window.keypoints, strict=True):
        assert np.linalg.norm(points[9] - centroid(image)) < 1.5
    travel = np.linalg.norm(window.keypoints[4] - window.keypoints[0], axis=1)
    assert travel.max() > 2.0
    assert travel.min() < 0.8 * travel.max()


def test_still_windows_have_no_limb_motion() -> None:
    config = replace(CALM, limb_motion=0.03)
    one = make_window(spotted(9), config, num_frames=1, crop_hw=(192, 160), rng=np.random.default_rng(0))
    calm = make_window(spotted(9), CALM, num_frames=1, crop_hw=(192, 160), rng=np.random.default_rng(0))
    assert (one.images == calm.images).all()


def moving_spot() -> Sample:
    """Seven pictures of a spot under one keypoint that moves by (4, 2) px a picture; the point is unlabelled in the last."""
    first = spotted(9)
    images, points = [], []
    for t in range(7):
        shift = np.array([4 * t - 12, 2 * t - 6])
        images.append(np.roll(first.images[0], shift[::-1], axis=(0, 1)))
        points.append(first.keypoints[0] + shift)
    is_labelled = np.ones((7, 19), np.bool_)
    is_labelled[6, 9] = False
    return Sample(tuple(images), np.repeat(first.boxes, 7, axis=0), np.array(points, np.float32), is_labelled)


@pytest.mark.parametrize("seed", range(8))
def test_a_stretch_of_a_video_keeps_points_on_the_moving_picture(seed: int) -> None:
    config = replace(CALM, flip=0.5, rotation_deg=30.0, rotation_probability=1.0, drift=0.01, limb_motion=0.03)
    window = make_window(moving_spot(), config, num_frames=3, crop_hw=(192, 160), rng=np.random.default_rng(seed))
    for image, points in zip(window.images, window.keypoints, strict=True):
        assert np.linalg.norm(points[[9, 10]] - centroid(image), axis=1).min() < 1.0
    steps = np.diff(window.keypoints[:, 9], axis=0)
    assert (np.linalg.norm(steps, axis=1) > 2.0).all()


def test_labels_are_per_frame_and_time_may_run_backwards() -> None:
    starts, unlabelled = set(), set()
    for seed in range(40):
        window = make_window(moving_spot(), CALM, num_frames=7, crop_hw=(64, 64), rng=np.random.default_rng(seed))
        starts.add(bool(window.keypoints[0, 9, 0] < window.keypoints[-1, 9, 0]))
        unlabelled.add(tuple(np.flatnonzero(~window.is_labelled[:, 9]).tolist()))
    assert starts == {True, False}
    assert unlabelled == {(0,), (6,)}


def test_too_short_a_video_is_refused() -> None:
    with pytest.raises(ConfigError, match="windows of 7"):
        make_window(moving_spot(), CALM, num_frames=9, crop_hw=(64, 64), rng=np.random.default_rng(0))


def headed(*, num_frames: int = 1, is_known: bool = True) -> Sample:
    """A person whose head lies on its side, with a red spot on the nose."""
    points = np.full((19, 2), (120.0, 160.0), np.float32)
    points[:5] = [(60, 80), (58, 75), (58, 85), (62, 70), (62, 90)]
    points[NECK], points[TOP] = (90, 80), (45, 80)
    image = np.zeros((200, 160, 3), np.uint8)
    image[78:83, 58:63] = 255, 0, 0
    is_labelled = np.ones((num_frames, 19), np.bool_)
    if not is_known:
        is_labelled[:, HEAD_POINTS[1:]] = False
    boxes = np.tile(np.array([20, 20, 140, 180], np.float32), (num_frames, 1))
    return Sample((image,) * num_frames, boxes, np.tile(points, (num_frames, 1, 1)), is_labelled)


@pytest.mark.parametrize("seed", range(4))
def test_a_window_of_a_head_is_upright_and_labels_only_its_points(seed: int) -> None:
    config = replace(CALM, shift=0.05, scale=0.15, rotation_deg=10.0, rotation_probability=1.0)
    rng = np.random.default_rng(seed)
    window = make_window(headed(), config, num_frames=1, crop_hw=(96, 96), rng=rng, shows="head")
    assert np.linalg.norm(window.keypoints[0, 0] - centroid(window.images[0])) < 1.0
    neck, top = window.keypoints[0, [NECK, TOP]]
    assert 25 < neck[1] - top[1] < 75 and abs(neck[0] - top[0]) < 0.4 * (neck[1] - top[1])
    assert np.flatnonzero(window.is_labelled[0]).tolist() == HEAD_POINTS.tolist()


def test_the_head_of_somebody_without_a_labelled_one_teaches_hardly_anything() -> None:
    rng = np.random.default_rng(0)
    window = make_window(headed(is_known=False), CALM, num_frames=1, crop_hw=(96, 96), rng=rng, shows="head")
    assert np.flatnonzero(window.is_labelled[0]).tolist() == [0]


def test_a_window_of_a_moving_head_has_one_crop() -> None:
    sample = headed(num_frames=3)
    sample.keypoints[2] += 10.0
    rng = np.random.default_rng(0)
    window = make_window(sample, CALM, num_frames=3, crop_hw=(96, 96), rng=rng, shows="head")
    moved = window.keypoints[:, HEAD_POINTS] - window.keypoints[0, HEAD_POINTS]
    assert np.abs(moved[1]).max() == 0 and np.ptp(moved[2], axis=0).max() < 1e-3 < np.abs(moved[2]).min()
