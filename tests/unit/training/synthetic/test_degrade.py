"""Degradations keep the shape, do what they are called, and repeat."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from posecli.training.synthetic.degrade import (
    Degradation,
    decode_jpeg,
    degrade,
    encode_jpeg,
    random_degradation,
    through_h264,
    through_jpeg,
)

NOTHING = Degradation(
    shrink=1.0,
    blur_px=0.0,
    streak=np.zeros(2, np.float32),
    gain=np.ones(3, np.float32),
    bias=0.0,
    saturation=1.0,
    gamma=1.0,
    noise=0.0,
    grain_px=0.0,
    jpeg=100,
    h264_crf=0,
)


def frames(count: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 11, 3)).astype(np.uint8)
    return [np.roll(cv2.resize(coarse, (77, 63), interpolation=cv2.INTER_CUBIC), k, axis=1) for k in range(count)]


def sharpness(image: np.ndarray) -> float:
    return float(np.abs(np.diff(image.astype(float), axis=1)).mean())


def test_nothing_changes_nothing() -> None:
    done = degrade(frames(), NOTHING, np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(done, frames(), strict=True))


@pytest.mark.parametrize("change", [{"shrink": 0.3}, {"blur_px": 2.0}, {"streak": np.array([7.0, 0.0], np.float32)}])
def test_blur_of_every_kind_takes_sharpness(change: dict[str, object]) -> None:
    done = degrade(frames(), replace(NOTHING, **change), np.random.default_rng(0))[0]  # type: ignore[arg-type]
    assert sharpness(done) < 0.95 * sharpness(frames()[0])
    assert done.mean() == pytest.approx(frames()[0].mean(), abs=3)


def test_light_colour_and_noise() -> None:
    first = frames()[0]
    dark = degrade([first], replace(NOTHING, gain=np.full(3, 0.3, np.float32)), np.random.default_rng(0))[0]
    assert dark.mean() == pytest.approx(first.mean() * 0.3, rel=0.03)
    grey = degrade([first], replace(NOTHING, saturation=0.0), np.random.default_rng(0))[0]
    assert np.ptp(grey.astype(int), axis=2).max() <= 1
    flat = np.full((60, 70, 3), 128, np.uint8)
    for grain in (0.0, 1.2):
        how = replace(NOTHING, noise=6.0, grain_px=grain)
        first, second = degrade([flat, flat], how, np.random.default_rng(0))
        assert first.std() == pytest.approx(6.0, rel=0.15)
        assert not np.array_equal(first, second)


def test_pictures_larger_than_the_noise_bank() -> None:
    flat = np.full((800, 1300, 3), 128, np.uint8)
    assert degrade([flat], replace(NOTHING, noise=4.0), np.random.default_rng(0))[0].std() == pytest.approx(
        4.0, rel=0.1
    )


def test_codecs_keep_shape_and_about_the_content() -> None:
    video = through_h264(frames(5), crf=28)
    assert len(video) == 5
    for before, after in zip(frames(5), video, strict=True):
        assert after.shape == before.shape == (63, 77, 3)
        assert np.abs(after.astype(float) - before).mean() < 16
    worst, best = (np.abs(through_jpeg(frames()[0], q).astype(float) - frames()[0]).mean() for q in (10, 95))
    assert worst > best
    assert degrade(frames(5), replace(NOTHING, h264_crf=30), np.random.default_rng(0))[4].shape == (63, 77, 3)
    assert degrade(frames(), replace(NOTHING, jpeg=40), np.random.default_rng(0))[0].shape == (63, 77, 3)


def test_jpeg_keeps_the_order_of_the_channels() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 250
    assert decode_jpeg(encode_jpeg(red, 95))[8, 8].tolist() == pytest.approx([250, 0, 0], abs=6)
    with pytest.raises(ValueError, match="not a JPEG"):
        decode_jpeg(np.zeros(10, np.uint8))


def test_small_and_dark_pictures_are_spared() -> None:
    draws = [random_degradation(np.random.default_rng(s), person_px=40, brightness=10, dark=1.0) for s in range(60)]
    assert min(float(how.gain.mean()) for how in draws) > 1.5
    assert all(how.shrink == 1.0 for how in draws)
    assert max(float(np.linalg.norm(how.streak)) for how in draws) < 2.7
    still = [
        random_degradation(np.random.default_rng(s), person_px=200, brightness=120, allow_video=False)
        for s in range(60)
    ]
    assert all(how.h264_crf == 0 for how in still)
    assert {how.jpeg == 100 for how in still} == {False}
