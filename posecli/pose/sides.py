"""Left and right, settled over time.

A network that sees a person from the side or from behind takes the left leg for the right one in some frames: in the video the
labels jump across the body and back. Seen over time that is unlikely: limbs move little between frames. For arms, legs and face of
a track apart, the cheapest sequence of "as estimated" or "exchanged" is found (Viterbi): moving costs by distance, exchanging by the
network's confidence. Where limbs cross and coincide a change is cheap, so evidence from many frames decides. Legs seen from the
side pass each other as people walk; where that is seen, the two must have changed places (`posecli.pose.passings`).

Legend: T frames of a track, K keypoints, P pairs of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from posecli.errors import check_above_zero
from posecli.pose.passings import Passing, find_passings
from posecli.records import BoolArray, FloatArray, IntArray, PoseSequence
from posecli.skeletons import Skeleton, get_skeleton

Float64Array = NDArray[np.float64]

_GROUPS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"), ("eye", "ear"))


@dataclass(frozen=True)
class SidesConfig:
    """How readily sides are exchanged.

    ``motion_weight``: cost of moving by one box size (root of the area), against a cost of 1 for exchanging points of score 1 in one
    frame, times ``exchange_weight``. ``max_gap_s``: rows further apart do not bind each other. ``passing_weight``: cost of legs of
    score 1 that do not pass each other where legs do.
    """

    motion_weight: float = 10.0
    exchange_weight: float = 0.2
    max_gap_s: float = 0.5
    passing_weight: float = 4.0

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
    skeleton = get_skeleton(sequence.skeleton)
    keypoints, scores = sequence.keypoints.copy(), sequence.scores.copy()
    num_exchanged = 0
    for left, right in _group_indices(skeleton):
        costs = _costs(sequence, left, right, times, config)
        is_exchanged = costs.cheapest()
        _exchange(is_exchanged, left, right, keypoints, scores)
        if skeleton.keypoint_names[left[0]] == "left_hip":
            passings = find_passings(keypoints, times, skeleton)
            again = costs.seen_from(is_exchanged).cheapest(passings, weight=config.passing_weight)
            _exchange(again, left, right, keypoints, scores)
            is_exchanged = is_exchanged ^ again
        num_exchanged += int(is_exchanged.sum())
    return replace(sequence, keypoints=keypoints, scores=scores), num_exchanged


def _exchange(rows: BoolArray, left: IntArray, right: IntArray, *tables: FloatArray) -> None:
    chosen = np.flatnonzero(rows)[:, None]
    for values in tables:
        kept = values[chosen, left].copy()
        values[chosen, left] = values[chosen, right]
        values[chosen, right] = kept


def _group_indices(skeleton: Skeleton) -> list[tuple[IntArray, IntArray]]:
    """Indices (P,) of the left and the right points of each group."""
    groups = []
    for names in _GROUPS:
        known = [name for name in names if f"left_{name}" in skeleton.keypoint_names]
        if known:
            left, right = ([skeleton.index(f"{side}_{name}") for name in known] for side in ("left", "right"))
            groups.append((np.array(left, np.int64), np.array(right, np.int64)))
    return groups


@dataclass(frozen=True)
class _Costs:
    """Of exchanging a row (T,), and of two neighbours (T - 1,) in the same state and in different ones; ``confidence`` (T,)."""

    exchange: Float64Array
    stay: Float64Array
    change: Float64Array
    confidence: Float64Array

    def seen_from(self, is_exchanged: BoolArray) -> _Costs:
        """As they are once those rows are exchanged: going back is a gain there."""
        differs = is_exchanged[1:] != is_exchanged[:-1]
        return _Costs(
            np.where(is_exchanged, -self.exchange, self.exchange),
            np.where(differs, self.change, self.stay),
            np.where(differs, self.stay, self.change),
            self.confidence,
        )

    def cheapest(self, passings: Sequence[Passing] = (), *, weight: float = 0.0) -> BoolArray:
        """(T,) whether to exchange, by dynamic programming over two states, and over that at the beginning of the present passing.

        Legs that do not pass each other in one of ``passings`` cost ``weight`` times their confidence.
        """
        begins, ends = self._judged(passings, weight)
        nobody = np.full((2, 2), np.inf)  # (state when the passing began, state)
        cost, came_from = nobody.copy(), np.zeros((len(self.exchange), 2, 2), np.int8)
        cost[0] = 0.0, self.exchange[0]
        began_as: dict[int, IntArray] = {}
        for t in range(len(self.exchange)):
            if t:
                stay, change = self.stay[t - 1], self.change[t - 1]
                options = cost[:, :, None] + np.array([[stay, change], [change, stay]])
                came_from[t] = options.argmin(axis=1)
                cost = options.min(axis=1) + np.array([0.0, self.exchange[t]])
            cost = cost + ends.get(t, 0.0)
            if t in begins:
                began_as[t] = cost.argmin(axis=0)
                cost = np.where(np.eye(2, dtype=np.bool_), cost.min(axis=0), nobody)
        began, state = (int(i) for i in np.unravel_index(int(cost.argmin()), cost.shape))
        states = np.empty(len(self.exchange), np.bool_)
        for t in range(len(self.exchange) - 1, -1, -1):
            began = int(began_as[t][state]) if t in began_as else began
            states[t] = bool(state)
            state = int(came_from[t, began, state])
        return states

    def _judged(self, passings: Sequence[Passing], weight: float) -> tuple[set[int], dict[int, Float64Array]]:
        """Rows where passings begin, and (2, 2) what the states cost where they end: changed once, or as labelled if that passes."""
        begins, ends, last = set[int](), dict[int, Float64Array](), 0
        for seen in passings:
            first = max(seen.before, last)
            if first < seen.after:
                is_wrong = np.eye(2) if not seen.is_passing else 1.0 - np.eye(2)
                begins.add(first)
                ends[seen.after] = weight * float(self.confidence[first : seen.after + 1].mean()) * is_wrong
                last = seen.after
        return begins, ends


def _costs(
    sequence: PoseSequence,
    left: IntArray,
    right: IntArray,
    times: Float64Array,
    config: SidesConfig,
) -> _Costs:
    """Moving costs by distance in box sizes, exchanging by confidence; rows too far apart in time do not bind each other."""
    sides = np.maximum(sequence.boxes[:, 2:].astype(np.float64) - sequence.boxes[:, :2], 1.0)
    sizes = np.sqrt(sides[:, 0] * sides[:, 1])
    points = sequence.keypoints.astype(np.float64)
    confidence = np.minimum(sequence.scores[:, left], sequence.scores[:, right]).astype(np.float64)
    weights = np.minimum(confidence[1:], confidence[:-1]) / (2.0 * len(left))

    def travel(now: IntArray, before: IntArray) -> Float64Array:
        distances = np.linalg.norm(points[1:, now] - points[:-1, before], axis=-1)
        return np.asarray((weights * np.nan_to_num(distances)).sum(axis=1) / sizes[1:])

    factor = config.motion_weight * (np.diff(times) <= config.max_gap_s)
    mean = confidence.mean(axis=1)
    return _Costs(
        config.exchange_weight * mean,
        factor * (travel(left, left) + travel(right, right)),
        factor * (travel(left, right) + travel(right, left)),
        mean,
    )
