"""Windows of crops: the same random change over a window, small camera motion between its frames, and of stills also moving limbs.

Legend: T frames, K keypoints. Crop sizes are (height, width) px.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.errors import ConfigError
from posecli.geometry import CropTransform, affine_apply
from posecli.pose.config import Shown
from posecli.pose.crops import ENLARGE
from posecli.pose.heads import HEAD_POINTS, head_transform
from posecli.records import FloatArray, ImageArray
from posecli.skeletons import POSECLI19
from posecli.training.damage import damage_window
from posecli.training.limb_motion import pull_limbs
from posecli.training.recipe import AugmentConfig
from posecli.training.sample import Sample

_UPPER = [i for i, n in enumerate(POSECLI19.keypoint_names) if not n.endswith(("hip", "knee", "ankle"))]
_LOWER = [i for i, n in enumerate(POSECLI19.keypoint_names) if n.endswith(("hip", "knee", "ankle"))]


@dataclass(frozen=True, slots=True)
class Window:
    """``images`` (T, H, W, 3) uint8 RGB, ``keypoints`` (T, K, 2) crop px (NaN unlabelled), ``is_labelled`` (T, K)."""

    images: ImageArray
    keypoints: FloatArray
    is_labelled: NDArray[np.bool_]


def make_window(
    sample: Sample,
    config: AugmentConfig,
    *,
    num_frames: int,
    crop_hw: tuple[int, int],
    rng: np.random.Generator,
    shows: Shown = "person",
) -> Window:
    """One augmented window.

    Args:
        sample: A person: a still stands in every frame, of a video a random stretch is taken, forwards or backwards.
        config: Strengths.
        num_frames: T.
        crop_hw: Size of the crops, px.
        rng: All randomness comes from here.
        shows: What the crops are cut around. Of a head, only its points are labelled; where it is not known where it is, nothing.

    Returns:
        The window; points that fall outside the crop keep their (outside) coordinates.

    Raises:
        ConfigError: The sample is a video of fewer than T frames.
    """
    height, width = crop_hw
    is_still = len(sample) == 1
    stretch = sample if is_still else _stretch(sample, num_frames, rng)
    base = (_head_matrix if shows == "head" else _person_matrix)(stretch, config, crop_hw, rng)
    is_flipped = rng.random() < config.flip
    images = np.empty((num_frames, height, width, 3), np.uint8)
    keypoints = np.empty((num_frames, len(POSECLI19), 2), np.float32)
    border = int(rng.integers(0, 256))
    for t, drift in enumerate(_drift(config, crop_hw, num_frames, rng)):
        matrix = _compose(drift, base)
        if is_flipped:
            matrix = _compose(np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]]), matrix)
        source = 0 if is_still else t
        images[t] = cv2.warpAffine(
            stretch.images[source],
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderValue=(border, border, border),
        )
        keypoints[t] = affine_apply(matrix, stretch.keypoints[source])
    if config.limb_motion > 0 and is_still and num_frames > 1:
        pull_limbs(images, keypoints, config.limb_motion, rng)
    is_labelled = np.broadcast_to(stretch.is_labelled, (num_frames, len(POSECLI19)))
    if shows == "head":
        is_labelled = is_labelled & np.isin(np.arange(len(POSECLI19)), HEAD_POINTS)
    if is_flipped:
        keypoints, is_labelled = keypoints[:, POSECLI19.flip_indices], is_labelled[:, POSECLI19.flip_indices]
    return Window(damage_window(images, config, rng), keypoints, is_labelled)


def _stretch(sample: Sample, num_frames: int, rng: np.random.Generator) -> Sample:
    if len(sample) < num_frames:
        raise ConfigError(f"a stage of {num_frames} frames cannot be trained on windows of {len(sample)}")
    start = int(rng.integers(len(sample) - num_frames + 1))
    return sample.part(start, start + num_frames, is_reversed=bool(rng.random() < 0.5))


def _person_matrix(
    sample: Sample, config: AugmentConfig, crop_hw: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    box, enlarge = sample.box, ENLARGE
    if rng.random() < config.half_body:
        part = _UPPER if rng.random() < 0.6 else _LOWER
        points = sample.keypoints[:, part][sample.is_labelled[:, part]]
        if len(points) >= 4:
            box, enlarge = np.concatenate([points.min(axis=0), points.max(axis=0)]), 1.5
    sides = np.maximum(box[2:] - box[:2], 4.0)
    shift, scale, rotation = _random_view(config, rng)
    box = box + np.tile(shift * sides.max(), 2)
    height, width = crop_hw
    return CropTransform.from_box(box, (width, height), enlarge=enlarge / scale, rotation_deg=rotation).matrix


def _head_matrix(
    sample: Sample, config: AugmentConfig, crop_hw: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    shift, scale, rotation = _random_view(config, rng)
    known = sample.is_labelled.astype(np.float32)
    found = head_transform(
        sample.keypoints, known, crop_hw, scale=scale, shift=(shift[0], shift[1]), rotation_deg=rotation
    )
    return found.matrix if found is not None else CropTransform.from_box(sample.box, crop_hw[::-1]).matrix


def _random_view(config: AugmentConfig, rng: np.random.Generator) -> tuple[NDArray[np.float64], float, float]:
    """Shift (2,) in sides, scale, rotation in degrees."""
    shift = np.clip(rng.normal(0.0, config.shift, 2), -0.15, 0.15)
    scale = float(np.clip(rng.normal(1.0, config.scale), 0.6, 1.5))
    rotation = 0.0
    if rng.random() < config.any_rotation:
        rotation = float(rng.uniform(-180.0, 180.0))
    elif rng.random() < config.rotation_probability:
        limit = 2 * config.rotation_deg
        rotation = float(np.clip(rng.normal(0.0, config.rotation_deg), -limit, limit))
    return shift, scale, rotation


def _drift(
    config: AugmentConfig, crop_hw: tuple[int, int], num_frames: int, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """(2, 3) matrices, the middle frame's near identity: constant velocity, spin and zoom plus a little shake."""
    size = np.array(crop_hw[::-1], np.float64)
    velocity = rng.normal(0.0, config.drift, 2) * size.max()
    spin, zoom = rng.normal(0.0, config.drift * 40.0), rng.normal(0.0, config.drift * 0.5)
    matrices = []
    for t in range(num_frames):
        step = t - (num_frames - 1) / 2
        if num_frames == 1:
            matrices.append(np.eye(2, 3))
            continue
        centre = (size - 1) / 2
        matrix = np.asarray(
            cv2.getRotationMatrix2D((centre[0], centre[1]), spin * step, float(np.exp(zoom * step))), np.float64
        )
        matrix[:, 2] += velocity * step + rng.normal(0.0, config.drift * 0.1, 2) * size.max()
        matrices.append(matrix)
    return matrices


def _compose(outer: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((np.vstack([outer, [0, 0, 1]]) @ np.vstack([inner, [0, 0, 1]]))[:2])
