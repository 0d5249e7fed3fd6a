"""What happens to the pictures of a window without moving anybody: light, colour, blur, cover, low resolution, noise, compression.

Most of it is the same for all frames of a window, as a camera would have it. Some strikes single frames: what cannot be seen in one
frame can be in its neighbours, and a network learns to look there only if that pays.

Legend: T frames of H x W px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.records import ImageArray
from posecli.training.recipe import AugmentConfig
from posecli.training.synthetic.degrade import through_jpeg

_LOWEST_RESOLUTION = 0.2
_JPEG_QUALITIES = (12, 75)
_MAX_NOISE = 24.0
_STRUCK_FRAMES = 0.5


def damage_window(images: ImageArray, config: AugmentConfig, rng: np.random.Generator) -> ImageArray:
    """Spoil the pictures of a window.

    Args:
        images: (T, H, W, 3) uint8; may be changed.
        config: Strengths.
        rng: All randomness comes from here.

    Returns:
        (T, H, W, 3) uint8.
    """
    table = colour_table(config.colour, rng)
    images = np.asarray(cv2.LUT(images.reshape(-1, *images.shape[2:]), table[None]), np.uint8).reshape(images.shape)
    if rng.random() < config.greyscale:
        images = np.repeat(images.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    if rng.random() < config.blur:
        kernel = blur_kernel(images.shape[1], rng)
        for image in images:
            image[:] = cv2.filter2D(image, -1, kernel)
    if rng.random() < config.cutout:
        _cover(images, rng)
    if len(images) > 1:
        _strike_frames(images, config, rng)
    for image, change in _recording(images, config, rng):
        image[:] = change(image)
    return images


def _recording(
    images: ImageArray, config: AugmentConfig, rng: np.random.Generator
) -> Iterator[tuple[ImageArray, Callable[[ImageArray], ImageArray]]]:
    """What a camera and a codec do, in that order: pictures, and what is to be done to each."""
    if rng.random() < config.low_resolution:
        factor = float(np.exp(rng.uniform(np.log(_LOWEST_RESOLUTION), 0.0)))
        yield from ((image, partial(_resample, factor=factor)) for image in images)
    if rng.random() < config.noise:
        strength = np.float32(rng.uniform(2.0, _MAX_NOISE))
        yield from ((image, partial(_add_noise, strength=strength, rng=rng)) for image in images)
    if rng.random() < config.jpeg:
        quality = int(rng.integers(*_JPEG_QUALITIES))
        yield from ((image, partial(through_jpeg, quality=quality)) for image in images)


def _strike_frames(images: ImageArray, config: AugmentConfig, rng: np.random.Generator) -> None:
    """Blur or cover some frames of a window, never all, in place."""
    struck = rng.random(len(images)) < _STRUCK_FRAMES
    struck[rng.integers(len(images))] = False
    is_blurred, is_covered = rng.random() < config.frame_blur, rng.random() < config.frame_cover
    for t in np.flatnonzero(struck):
        if is_blurred:
            images[t] = cv2.filter2D(images[t], -1, blur_kernel(2 * images.shape[1], rng))
        if is_covered:
            _cover(images[t : t + 1], rng)


def _cover(images: ImageArray, rng: np.random.Generator) -> None:
    """Paint over one rectangle in all of the pictures, in place."""
    height, width = images.shape[1:3]
    part_h, part_w = (int(side * rng.uniform(0.1, 0.35)) for side in (height, width))
    top, left = int(rng.integers(0, height - part_h)), int(rng.integers(0, width - part_w))
    images[:, top : top + part_h, left : left + part_w] = rng.integers(0, 256, 3)


def _resample(image: ImageArray, factor: float) -> ImageArray:
    """Down by a factor and up again: a person far away."""
    height, width = image.shape[:2]
    small_wh = max(2, round(width * factor)), max(2, round(height * factor))
    small = cv2.resize(image, small_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _add_noise(image: ImageArray, strength: np.float32, rng: np.random.Generator) -> ImageArray:
    noise = rng.standard_normal(image.shape, np.float32) * strength
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def colour_table(strength: float, rng: np.random.Generator) -> ImageArray:
    """(256, 3) look-up table: gamma, then a gain and a bias per channel around common ones."""
    levels = np.linspace(0.0, 1.0, 256)[:, None] ** np.exp(rng.normal(0.0, strength))
    gain = np.exp(rng.normal(0.0, strength) + rng.normal(0.0, strength * 0.3, 3))
    bias = rng.normal(0.0, strength * 0.3) + rng.normal(0.0, strength * 0.1, 3)
    return np.rint(np.clip((levels * gain + bias) * 255.0, 0, 255)).astype(np.uint8)


def blur_kernel(height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gaussian blur or a straight motion streak, up to a few per cent of the crop."""
    size = 2 * int(rng.integers(1, max(2, height // 48) + 1)) + 1
    if rng.random() < 0.5:
        profile = cv2.getGaussianKernel(size, -1)
        return np.asarray(profile @ profile.T, np.float32)
    kernel = np.zeros((size, size), np.float32)
    angle = rng.uniform(0.0, np.pi)
    reach = (size - 1) / 2
    end = np.array([np.cos(angle), np.sin(angle)]) * reach
    cv2.line(
        kernel,
        (round(reach - end[0]), round(reach - end[1])),
        (round(reach + end[0]), round(reach + end[1])),
        1.0,
    )
    return kernel / kernel.sum()
