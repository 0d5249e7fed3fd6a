"""The root is found where it is when pose, camera and size are known, and scales with what is assumed."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.lifting.trajectory import Camera, root_trajectory

WIDTH, HEIGHT = 1280, 720
CAMERA = Camera.from_fov(55.0, width_px=WIDTH, height_px=HEIGHT)
TIME_S = np.arange(90) / 30.0


def someone() -> np.ndarray:
    """(90, 17, 3): a body about 1.7 m tall that changes all the time."""
    rng = np.random.default_rng(1)
    pose = rng.normal(size=(17, 3)) * [200, 450, 200]
    joints = pose + 60 * np.sin(TIME_S[:, None, None] * rng.uniform(2, 6, (17, 3)))
    return (joints - joints[:, :1]).astype(np.float32)


def path() -> np.ndarray:
    """(90, 3): walking past at even speed, towards the camera."""
    return np.stack([-900 + 600 * TIME_S, 200 + 0 * TIME_S, 5000 - 500 * TIME_S], axis=1)


def project(joints: np.ndarray, root: np.ndarray, camera: Camera = CAMERA) -> np.ndarray:
    points = joints + root[:, None]
    return (points[..., :2] / points[..., 2:] * camera.focal_px + np.array(camera.centre_px)).astype(np.float32)


def test_an_exact_projection_gives_the_exact_path() -> None:
    joints, root = someone(), path()
    found = root_trajectory(joints, project(joints, root), np.ones((90, 17), np.float32), TIME_S, CAMERA)
    assert np.abs(found - root).max() < 1.0


def test_noise_of_three_pixels_is_a_few_per_cent_of_the_depth() -> None:
    joints, root = someone(), path()
    seen = project(joints, root) + np.random.default_rng(0).normal(0, 3, (90, 17, 2)).astype(np.float32)
    found = root_trajectory(joints, seen, np.ones((90, 17), np.float32), TIME_S, CAMERA)
    assert np.abs(found[:, 2] / root[:, 2] - 1).max() < 0.03
    assert np.linalg.norm(project(joints, found.astype(float)) - project(joints, root), axis=-1).mean() < 6.0


def test_missing_joints_and_wrong_ones_of_no_score_do_not_matter() -> None:
    joints, root = someone(), path()
    seen, scores = project(joints, root), np.ones((90, 17), np.float32)
    seen[:, 3], scores[:, 3] = np.nan, 0.0
    seen[:, 6], scores[:, 6] = 5.0, 0.0
    found = root_trajectory(joints, seen, scores, TIME_S, CAMERA)
    assert np.abs(found - root).max() < 1.0


def test_frames_without_enough_joints_have_no_root() -> None:
    joints, root = someone(), path()
    seen, scores = project(joints, root), np.ones((90, 17), np.float32)
    scores[10:20, 3:] = 0.0
    joints[50] = np.nan
    found = root_trajectory(joints, seen, scores, TIME_S, CAMERA)
    is_missing = np.isnan(found).all(axis=1)
    assert np.flatnonzero(is_missing).tolist() == [*range(10, 20), 50]
    assert np.abs(found - root)[~is_missing].max() < 1.0


def test_what_fits_no_place_in_front_of_the_camera_has_no_root() -> None:
    joints, root = someone(), path()
    mirrored = 2 * np.array(CAMERA.centre_px, np.float32) - project(joints, root)
    assert np.isnan(root_trajectory(joints, mirrored, np.ones((90, 17), np.float32), TIME_S, CAMERA)).all()


def test_depth_is_proportional_to_size_and_focal_length() -> None:
    joints, root = someone(), path()
    seen, scores = project(joints, root), np.ones((90, 17), np.float32)
    tall = root_trajectory(joints * np.float32(1.1), seen, scores, TIME_S, CAMERA)
    assert np.abs(tall - 1.1 * root).max() < 1.0
    narrow = Camera.from_fov(40.0, width_px=WIDTH, height_px=HEIGHT)
    factor = narrow.focal_px / CAMERA.focal_px
    assert factor == pytest.approx(1.43, abs=0.01)
    # far away, where perspective hardly bends the body
    far = root * [1, 1, 10]
    found = root_trajectory(joints, project(joints, far), scores, TIME_S, narrow)
    assert np.abs(found[:, 2] / far[:, 2] / factor - 1).max() < 0.05


def test_the_field_of_view_lies_along_the_longer_side() -> None:
    upright = Camera.from_fov(55.0, width_px=HEIGHT, height_px=WIDTH)
    assert upright.focal_px == CAMERA.focal_px
    assert upright.centre_px == (359.5, 639.5)
    with pytest.raises(ConfigError, match="field of view is 180 degrees"):
        Camera.from_fov(180.0, width_px=10, height_px=10)


def test_nothing_gives_nothing() -> None:
    empty = np.zeros((0, 17, 3), np.float32)
    assert root_trajectory(empty, empty[..., :2], empty[..., 0], np.zeros(0), CAMERA).shape == (0, 3)
