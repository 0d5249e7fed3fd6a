"""Spoiled pictures: what strikes single frames leaves one whole, everything else strikes all alike; seeds decide."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from posecli.records import ImageArray
from posecli.training.damage import damage_window
from posecli.training.recipe import AugmentConfig

CALM = AugmentConfig(**{field.name: 0.0 for field in fields(AugmentConfig)})


def pictures() -> ImageArray:
    """Five times the same picture, with coarse and fine detail."""
    rng = np.random.default_rng(1)
    coarse = np.kron(rng.integers(0, 180, (12, 10, 3)), np.ones((16, 16, 1)))
    image = coarse + rng.integers(0, 70, coarse.shape)
    return np.repeat(image.astype(np.uint8)[None], 5, axis=0)


def sharpness(image: ImageArray) -> float:
    return float(cv2.Laplacian(image, cv2.CV_32F).std())


def test_calm_settings_change_nothing() -> None:
    assert np.array_equal(damage_window(pictures(), CALM, np.random.default_rng(0)), pictures())


@pytest.mark.parametrize("name", ["frame_blur", "frame_cover"])
def test_single_frames_are_struck_never_all(name: str) -> None:
    counts = set()
    for seed in range(20):
        damaged = damage_window(pictures(), replace(CALM, **{name: 1.0}), np.random.default_rng(seed))
        counts.add(sum(not np.array_equal(one, whole) for one, whole in zip(damaged, pictures(), strict=True)))
    assert max(counts) == 4 and len(counts) > 2


@pytest.mark.parametrize("name", ["blur", "cutout", "low_resolution", "jpeg"])
def test_the_camera_s_damage_is_the_same_in_all_frames(name: str) -> None:
    damaged = damage_window(pictures(), replace(CALM, **{name: 1.0}), np.random.default_rng(3))
    assert not np.array_equal(damaged[0], pictures()[0])
    assert all(np.array_equal(damaged[0], image) for image in damaged[1:])


def test_noise_is_other_in_every_frame() -> None:
    damaged = damage_window(pictures(), replace(CALM, noise=1.0), np.random.default_rng(3))
    assert not np.array_equal(damaged[0], damaged[1])
    assert abs(float(damaged[0].mean()) - float(pictures()[0].mean())) < 2.0


def test_low_resolution_takes_fine_detail_away() -> None:
    damaged = damage_window(pictures(), replace(CALM, low_resolution=1.0), np.random.default_rng(3))
    assert sharpness(damaged[0]) < 0.5 * sharpness(pictures()[0])


def test_the_same_seed_gives_the_same_pictures() -> None:
    everything = AugmentConfig(
        **{field.name: getattr(CALM, field.name) for field in fields(AugmentConfig) if field.name != "colour"},
        colour=0.3,
    )
    everything = replace(everything, noise=1.0, jpeg=1.0, frame_blur=1.0, frame_cover=1.0, low_resolution=1.0)
    first, second = (damage_window(pictures(), everything, np.random.default_rng(9)) for _ in range(2))
    assert np.array_equal(first, second)
