"""Left and right, settled over time.

A network that sees a person from the side or from behind takes the left leg for the right one in some frames: in the video the
labels jump across the body and back. Seen over time that is unlikely: limbs move little between frames. For arms, legs and face of
a track apart, the cheapest sequence of "as estimated" or "exchanged" is found (Viterbi): moving costs by distance, exchanging by the
network's confidence. Where limbs cross and coincide a change is cheap, so evidence from many frames decides.

Legend: T frames of a track, K keypoints, P pairs of one group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posecli.errors import check_above_zero
from posecli.records import PoseSequence
from posecli.skeletons import Skeleton, get_skeleton

Float64Array = NDArray[np.float64]

_GROUPS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"), ("eye", "ear"))


@dataclass(frozen=True)
class SidesConfig:
    """How readily sides are exchanged.

    ``motion_weight``: cost of moving by one box size (root of the area), against a cost of 1 for exchanging points of score 1 in one
    frame, times ``exchange_weight``. ``max_gap_s``: rows further apart do not bind each other.
    """

    motion_weight: float = 10.0
    exchange_weight: float = 0.2
    max_gap_s: float = 0.5

    def __post_init__(self) -> None:
        check_above_zero(self, what="sides")


def settle_sides(
    sequence: PoseSequence, time_s: Float64Array, config: SidesConfig | None = None, *, first_frame_index: int = 0
) -> tuple[PoseSequence, int]:
    """Exchange left and right where the motion of the whole track asks for it.

    Args:
        sequence: One track. ``raw_keypoints`` stay the network's own.
        time_s: (F,) seconds of all frames of the video: row i is frame ``first_frame_index + i``.
        config: How readily.
        first_frame_index: The frame of the first row of ``time_s``.

    Returns:
        The track, its ``keypoints`` and ``scores`` exchanged where needed, and in how many (frame, group) places that was.
    """
    config = config or SidesConfig()
    if len(sequence) < 2:
        return sequence, 0
    times = np.asarray(time_s, np.float64)[sequence.frame_indices - first_frame_index]
    is_bound = np.diff(times) <= config.max_gap_s
    sides = np.maximum(sequence.boxes[:, 2:].astype(np.float64) - sequence.boxes[:, :2], 1.0)
    sizes = np.sqrt(sides[:, 0] * sides[:, 1])
    keypoints, scores = sequence.keypoints.copy(), sequence.scores.copy()
    num_exchanged = 0
    for left, right in _group_indices(get_skeleton(sequence.skeleton)):
        is_exchanged = _cheapest(keypoints, scores, left, right, sizes, is_bound, config)
        rows = np.flatnonzero(is_exchanged)[:, None]
        for values in (keypoints, scores):
            kept = values[rows, left].copy()
            values[rows, left] = values[rows, right]
            values[rows, right] = kept
        num_exchanged += int(is_exchanged.sum())
    return replace(sequence, keypoints=keypoints, scores=scores), num_exchanged


def _group_indices(skeleton: Skeleton) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Indices (P,) of the left and the right points of each group."""
    groups = []
    for names in _GROUPS:
        known = [name for name in names if f"left_{name}" in skeleton.keypoint_names]
        if known:
            left, right = ([skeleton.index(f"{side}_{name}") for name in known] for side in ("left", "right"))
            groups.append((np.array(left, np.int64), np.array(right, np.int64)))
    return groups


def _cheapest(
    keypoints: NDArray[np.float32],
    scores: NDArray[np.float32],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    sizes: Float64Array,
    is_bound: NDArray[np.bool_],
    config: SidesConfig,
) -> NDArray[np.bool_]:
    """(T,) whether to exchange, by dynamic programming over two states."""
    points = keypoints.astype(np.float64)
    confidence = np.minimum(scores[:, left], scores[:, right]).astype(np.float64)
    exchange = config.exchange_weight * confidence.mean(axis=1)
    weights = np.minimum(confidence[1:], confidence[:-1]) / (2.0 * len(left))

    def travel(now: NDArray[np.int64], before: NDArray[np.int64]) -> Float64Array:
        distances = np.linalg.norm(points[1:, now] - points[:-1, before], axis=-1)
        return np.asarray((weights * np.nan_to_num(distances)).sum(axis=1) / sizes[1:])

    same = travel(left, left) + travel(right, right)
    crossed = travel(left, right) + travel(right, left)
    factor = config.motion_weight * is_bound
    stay, change = factor * same, factor * crossed
    cost = np.array([0.0, exchange[0]])
    came_from = np.zeros((len(exchange), 2), np.int64)
    for t in range(1, len(exchange)):
        options = cost[None, :] + np.array([[stay[t - 1], change[t - 1]], [change[t - 1], stay[t - 1]]])
        came_from[t] = options.argmin(axis=1)
        cost = options.min(axis=1) + np.array([0.0, exchange[t]])
    state = int(cost.argmin())
    states = np.empty(len(exchange), np.bool_)
    for t in range(len(exchange) - 1, -1, -1):
        states[t] = bool(state)
        state = int(came_from[t, state])
    return states
