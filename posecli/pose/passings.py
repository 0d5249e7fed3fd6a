"""Legs that pass each other, as a person seen from the side walks or runs.

Seen from the side, feet that come together and part again within seven tenths of a second have passed each other: the one that was
ahead is behind. `tests/benchmarks/measure_passings.py` counts in how many recordings of people that is so, cameras all around them. A
network that looks at a sixth of a second does not know it, and takes the leg ahead for the left one in one stride after the other.

Legend: T frames of a track, K keypoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from posecli.records import FloatArray
from posecli.skeletons import Skeleton

Float64Array = NDArray[np.float64]

_REACH_S = 0.55  # from where the legs lie together to where they are farthest apart, at most
_LONGEST_S = 0.7  # from apart to apart
_ALONE_S = 0.2  # no two passings nearer to each other than this
_STEADY_S = 0.17  # single frames with the legs exchanged are overruled by those around them
_APART, _TOGETHER = 0.45, 0.25  # in trunk lengths
_SIDE_VIEW = 0.4  # shoulders seen no wider than this, in trunk lengths
_ANKLE, _KNEE = 0.6, 0.4


@dataclass(frozen=True, slots=True)
class Passing:
    """Rows of a track: legs apart at ``before``, together at ``row``, apart at ``after``.

    ``is_passing``: whether, as they are labelled, the one that was ahead is behind.
    """

    before: int
    row: int
    after: int
    is_passing: bool


def find_passings(keypoints: FloatArray, times: Float64Array, skeleton: Skeleton) -> list[Passing]:
    """Where the legs of a person seen from the side come together and part again.

    Args:
        keypoints: (T, K, 2) px; NaN where unknown.
        times: (T,) seconds, ascending.
        skeleton: Of the keypoints; one without knees or ankles has no legs.

    Returns:
        In the order of time.
    """
    if any(f"left_{name}" not in skeleton.keypoint_names for name in ("shoulder", "hip", "knee", "ankle")):
        return []
    stride, shoulders = _spread(keypoints, skeleton)
    apart, together = np.nan_to_num(np.abs(stride)), np.nan_to_num(np.abs(stride), nan=np.inf)
    ahead = np.sign(_steadied(stride, times))
    found = []
    for row in np.flatnonzero(together < _TOGETHER).tolist():
        low, first = np.searchsorted(times, [times[row] - _ALONE_S, times[row] - _REACH_S])
        high, last = np.searchsorted(times, [times[row] + _ALONE_S, times[row] + _REACH_S], side="right")
        if low + int(together[low:high].argmin()) != row or first == row or last == row + 1:
            continue
        before, after = int(first + apart[first:row].argmax()), int(row + 1 + apart[row + 1 : last].argmax())
        if (
            min(apart[before], apart[after]) > _APART
            and times[after] - times[before] <= _LONGEST_S
            and np.median(shoulders[before : after + 1]) < _SIDE_VIEW
        ):
            found.append(Passing(before, row, after, bool(ahead[before] != ahead[after])))
    return found


def _spread(keypoints: FloatArray, skeleton: Skeleton) -> tuple[Float64Array, Float64Array]:
    """(T,) how far the left foot is ahead of the right one and (T,) how wide the shoulders are seen; in trunk lengths."""
    points = keypoints.astype(np.float64)

    def of(name: str) -> tuple[Float64Array, Float64Array]:
        return points[:, skeleton.index(f"left_{name}")], points[:, skeleton.index(f"right_{name}")]

    trunk = (np.add(*of("shoulder")) - np.add(*of("hip"))) / 2
    lengths = np.linalg.norm(trunk, axis=1)
    known = lengths[np.isfinite(lengths)]
    scale = max(float(np.median(known)), 1.0) if len(known) else 1.0
    across = np.stack([-trunk[:, 1], trunk[:, 0]], axis=1) / np.maximum(lengths, 1e-6)[:, None] / scale

    def apart(name: str) -> Float64Array:
        left, right = of(name)
        return np.asarray(((left - right) * across).sum(axis=1))

    stride = _ANKLE * apart("ankle") + _KNEE * apart("knee")
    return stride, np.nan_to_num(np.abs(apart("shoulder")), nan=np.inf)


def _steadied(values: Float64Array, times: Float64Array) -> Float64Array:
    """(T,): running median over as many rows as `_STEADY_S` has at the usual rate; what is unknown stays so, with those beside it."""
    if len(values) < 2:
        return values
    width = max(1, int(_STEADY_S / max(float(np.median(np.diff(times))), 1e-6)))
    width -= 1 - width % 2
    padded = np.pad(values, width // 2, mode="edge")
    return np.asarray(np.median(sliding_window_view(padded, width), axis=-1))
