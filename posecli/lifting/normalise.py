"""2D joints as the lifter wants them: about the person, not the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.records import BoolArray, FloatArray

_SIZE_PERCENTILE = 90.0
_ROOT = 0


@dataclass(frozen=True, slots=True)
class PersonFrame:
    """A clip seen from the person: ``inputs`` (T, J, 3) x, y and score; ``scale_px`` what x and y were divided by."""

    inputs: FloatArray
    scale_px: float


def normalise_person(joints_px: FloatArray, scores: FloatArray) -> PersonFrame:
    """Centre every frame on its root, and divide by the person's size in the clip.

    One size for the whole clip, so that someone who crouches gets smaller: the 90th percentile over the frames of the diagonal of
    the joints' bounding box. Neither the place in the picture nor the distance matter then, nor a moving camera.

    Args:
        joints_px: (T, J, 2), NaN where missing; joint 0 is the root.
        scores: (T, J) in [0, 1].

    Returns:
        The network's input; missing joints are 0 with score 0. In a frame without a root the middle of the joints takes its place; a
        clip without any joint has size 1.
    """
    is_seen: BoolArray = np.asarray(np.isfinite(joints_px).all(axis=-1))
    low = np.where(is_seen[..., None], joints_px, np.inf).min(axis=1)
    high = np.where(is_seen[..., None], joints_px, -np.inf).max(axis=1)
    has_any: BoolArray = np.asarray(is_seen.any(axis=1))
    low, high = (np.where(has_any[:, None], edge, 0.0) for edge in (low, high))
    diagonal = np.hypot(*np.moveaxis(high - low, -1, 0))
    scale = float(np.percentile(diagonal[has_any], _SIZE_PERCENTILE)) if has_any.any() else 0.0
    scale = scale if scale > 0.0 else 1.0
    middle = (low + high) / 2.0
    centre = np.where(is_seen[:, _ROOT, None], joints_px[:, _ROOT], middle)
    xy = np.where(is_seen[..., None], (joints_px - centre[:, None]) / scale, 0.0)
    values = np.where(is_seen, scores, 0.0)
    return PersonFrame(np.concatenate([xy, values[..., None]], axis=-1).astype(np.float32), scale)
