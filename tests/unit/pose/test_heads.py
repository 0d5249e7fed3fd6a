"""Looking at heads again: the crop is upright and large enough, and only the head's points change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posecli.errors import ConfigError, WeightsError
from posecli.pose import heads
from posecli.pose.checkpoint import save_network
from posecli.pose.estimator import PoseEstimator
from posecli.pose.heads import HEAD_POINTS, head_transform, put_heads
from posecli.pose.network import PoseNetwork
from posecli.skeletons import POSECLI19
from tests.tiny_networks import POSE

CROP = (64, 64)
NECK, TOP = POSECLI19.index("neck"), POSECLI19.index("head_top")
HEAD = replace(POSE, crop_hw=CROP, shows="head")


def standing(centre: tuple[float, float] = (300.0, 200.0), size: float = 40.0, num_frames: int = 3) -> np.ndarray:
    """(T, 19, 2): a head that looks at the camera; the body far below."""
    points = np.full((19, 2), (0.0, 6.0))
    points[:5] = [(0, 0.1), (0.15, 0), (-0.15, 0), (0.3, 0.05), (-0.3, 0.05)]
    points[NECK], points[TOP] = (0, 0.6), (0, -0.4)
    return np.tile(points * size + centre, (num_frames, 1, 1)).astype(np.float32)


def sure(keypoints: np.ndarray) -> np.ndarray:
    return np.ones(keypoints.shape[:2], np.float32)


def turned(keypoints: np.ndarray, angle_deg: float, about: tuple[float, float] = (300.0, 200.0)) -> np.ndarray:
    angle = np.deg2rad(angle_deg)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray((keypoints - about) @ rotation.T + about, np.float32)


def test_the_points_are_those_of_the_head() -> None:
    names = [POSECLI19.keypoint_names[i] for i in HEAD_POINTS]
    assert names == ["nose", "left_eye", "right_eye", "left_ear", "right_ear", "neck", "head_top"]


@pytest.mark.parametrize("angle_deg", [0.0, 35.0, -120.0, 180.0])
@pytest.mark.parametrize("size", [12.0, 90.0])
def test_however_a_head_leans_its_crop_is_the_same(angle_deg: float, size: float) -> None:
    upright, leaning = standing(size=size), turned(standing(size=size), angle_deg)
    shown = []
    for points in (upright, leaning):
        transform = head_transform(points, sure(points), CROP)
        assert transform is not None
        shown.append(transform.to_crop(points[:, HEAD_POINTS]))
    assert np.abs(shown[0] - shown[1]).max() < 0.01
    assert shown[0].min() > 8 and shown[0].max() < 56
    height = np.ptp(shown[0][0, :, 1])
    assert 0.3 < height / CROP[0] < 0.6


def test_a_head_that_moves_stays_in_the_crop() -> None:
    points = standing() + (np.arange(3) * 60.0)[:, None, None] * np.array([1.0, 0.3])
    transform = head_transform(points.astype(np.float32), sure(points), CROP)
    assert transform is not None
    shown = transform.to_crop(points[:, HEAD_POINTS])
    assert shown.min() > 0 and shown.max() < 63


def test_points_without_a_score_count_for_nothing() -> None:
    points, scores = standing(), sure(standing())
    strayed = points.copy()
    strayed[:, 3], strayed[1, HEAD_POINTS] = 5000.0, -9000.0
    scores[:, 3], scores[1, HEAD_POINTS] = 0.02, 0.05
    expected, found = (head_transform(p, scores, CROP) for p in (points, strayed))
    assert expected is not None and found is not None
    assert np.array_equal(expected.matrix, found.matrix)


def test_without_three_points_in_any_frame_there_is_no_head() -> None:
    points, scores = standing(), np.zeros((3, 19), np.float32)
    scores[:, [0, 1]] = 0.9
    assert head_transform(points, scores, CROP) is None


def test_scale_shift_and_turn_change_the_crop_as_they_say() -> None:
    points = standing()
    plain, changed = (
        head_transform(points, sure(points), CROP, **options)  # type: ignore[arg-type]
        for options in ({}, {"scale": 1.5, "shift": (0.1, 0.0), "rotation_deg": 90.0})
    )
    assert plain is not None and changed is not None
    assert changed.scale == pytest.approx(1.5 * plain.scale)
    up = changed.to_crop(points[0, TOP]) - changed.to_crop(points[0, NECK])
    assert abs(up[1]) < 1e-3 and up[0] > 0  # clockwise by a right angle: the top is on the right


def test_both_looks_are_averaged_and_scores_stay() -> None:
    rng = np.random.default_rng(1)
    first, closer = rng.uniform(0, 100, (2, 4, 5, 19, 3)).astype(np.float32)
    merged = put_heads(first, closer, np.full(4, 2000.0, np.float32))
    assert np.array_equal(merged[..., 2], first[..., 2])
    body = np.setdiff1d(np.arange(19), HEAD_POINTS)
    assert np.array_equal(merged[:, :, body], first[:, :, body])
    expected = 0.4 * first[:, :, HEAD_POINTS, :2] + 0.6 * closer[:, :, HEAD_POINTS, :2]
    assert np.abs(merged[:, :, HEAD_POINTS, :2] - expected).max() < 1e-4


def test_what_the_second_look_sees_far_away_is_somebody_elses() -> None:
    first = np.zeros((2, 1, 19, 3), np.float32)
    closer = first.copy()
    closer[:, :, HEAD_POINTS[0], 0], closer[:, :, HEAD_POINTS[1], 1] = 10.0, 14.0
    merged = put_heads(first, closer, np.array([100.0, 200.0], np.float32))
    assert merged[:, 0, HEAD_POINTS[0], 0].tolist() == pytest.approx([6.0, 6.0])
    assert merged[:, 0, HEAD_POINTS[1], 1].tolist() == pytest.approx([0.0, 8.4])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random ones: of a network for people, of one for heads, and of one for heads in windows of three."""
    folder = tmp_path_factory.mktemp("weights")
    paths: dict[str, Path] = {}
    for name, config in (("person", POSE), ("head", HEAD), ("short", replace(HEAD, num_frames=3))):
        torch.manual_seed(len(paths))
        paths[name] = folder / f"{name}.safetensors"
        network = PoseNetwork(config)
        torch.nn.init.normal_(network.head.weight, std=1.0)
        save_network(paths[name], network.state_dict(), config, metadata={})
    return paths


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (200, 150, 3), dtype=np.uint8) for _ in range(5)]


BOX = np.tile(np.array([20, 10, 110, 180], np.float32), (5, 1))


@pytest.mark.parametrize("mode", ["clip", "key"])
def test_only_the_points_of_the_head_are_estimated_again(
    weights: dict[str, Path], images: list[np.ndarray], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_FAR_IN_SIDES", 100.0)  # random networks do not agree about anything
    once = PoseEstimator.load(weights["person"], head_weights=None)
    twice = PoseEstimator.load(weights["person"], head_weights=weights["head"])
    assert twice.heads is not None and once.heads is None
    first, again = (
        np.concatenate([points, scores[..., None]], axis=-1)[0]
        for points, scores in (e.estimate_windows([images], [BOX], mode=mode) for e in (once, twice))  # type: ignore[arg-type]
    )
    body = np.setdiff1d(np.arange(19), HEAD_POINTS)
    assert np.array_equal(first[:, body], again[:, body], equal_nan=True)
    frames = slice(None) if mode == "clip" else slice(2, 3)
    assert not np.array_equal(first[frames, HEAD_POINTS, :2], again[frames, HEAD_POINTS, :2])
    place = head_transform(first[frames, :, :2], first[frames, :, 2], CROP)
    assert place is not None
    closer = twice.heads.estimate_crops([images], [place], frame=None if mode == "clip" else 2)
    sides = np.array([CROP[0] / place.scale], np.float32)
    assert np.array_equal(put_heads(first[None, frames], closer, sides)[0], again[frames])


def test_stills_are_looked_at_again_too(
    weights: dict[str, Path], images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_FAR_IN_SIDES", 100.0)
    once = PoseEstimator.load(weights["person"], head_weights=None).estimate_images(images[:2], list(BOX[:2]))
    twice = PoseEstimator.load(weights["person"], head_weights=weights["head"]).estimate_images(
        images[:2], list(BOX[:2])
    )
    assert not np.array_equal(once[0][:, HEAD_POINTS], twice[0][:, HEAD_POINTS])
    assert np.array_equal(once[0][:, 5:17], twice[0][:, 5:17])


def test_nobody_is_looked_at_by_the_wrong_network(weights: dict[str, Path]) -> None:
    with pytest.raises(WeightsError, match="looks at a head, wanted is one that looks at a person"):
        PoseEstimator.load(weights["head"])
    with pytest.raises(WeightsError, match="looks at a person, wanted is one that looks at a head"):
        PoseEstimator.load(weights["person"], head_weights=weights["person"])
    with pytest.raises(ConfigError, match="heads in windows of 3 frames, people in windows of 5"):
        PoseEstimator.load(weights["person"], head_weights=weights["short"])
