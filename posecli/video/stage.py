"""People in 3D, placed on one ground for drawing: who stands where in which frame, and what a camera must see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, percentile_filter, uniform_filter1d
from scipy.signal import savgol_filter

from posecli.errors import ConfigError
from posecli.records import Annotation, FloatArray, IntArray, PoseSequence3D
from posecli.skeletons import H36M17, STANDARD_HEIGHT_CM, JointTree

_Floats = NDArray[np.float64]

_SPACING_MM = 1000.0  # between people of whom nobody knows where they are
_ROOT_SMOOTHING_S = 0.2
_FOLLOW_SMOOTHING_S = 0.6
_GROUND_WINDOW_S = 2.0
_GROUND_PERCENTILE = 90.0
_GROUND_ROUNDS = 4
_FARTHEST_MM = 6000.0
_GAP_MM = 1200.0  # to the nearest neighbour, at most
_LEAST_GAP_MM = 750.0  # hardly more than people are wide
_SQUARE_GAP_SHARE = 1.2  # panels narrower than 1 / 1.2 of their height have people nearer together
_NUM_RINGS = 16
_SOLE_MM = 28.0  # below the lowest joint: the ball of an ankle stands on the ground
_FLESH_MM = 130.0  # a ball is drawn for the head, and limbs have width
_LIMB_FLESH_MM = 60.0  # beside several people, whose heads are seldom outermost and then fit into the panel's margin


@dataclass(frozen=True, slots=True)
class Figure:
    """One person in one frame: ``joints_mm`` (J, 3) on the stage (see `posecli.video.turntable`), ``scores`` (J,)."""

    track_id: int
    joints_mm: FloatArray
    scores: FloatArray
    tree: JointTree


@dataclass(frozen=True, slots=True)
class _Actor:
    track_id: int
    frame_indices: IntArray
    joints_mm: FloatArray
    scores: FloatArray


class Stage:
    """Everybody of an annotation on one level ground.

    People are where their ``root_mm`` says, smoothed, when everybody has one; else one metre apart. The stage moves with the
    middle of the people, so that somebody who walks far stays in the picture while the ground passes below.

    People are brought together, because distances between them are rough anyway (nobody's size is known) and true ones would make
    everybody tiny: whoever is farther than ``gap_mm`` from everybody else is moved, with those who are near them, along the line
    to the nearest of the others until this gap is left: in the true direction, so that sides and order along the line stay (among
    those who are no neighbours nearly always); who is nearer than that stays where they are. The ground passes as people walk on
    average, without a step when somebody comes or leaves. In crowds, whoever is more than 6 m off the middle is drawn at 6 m.

    How the video's camera was tilted is unknown: up is its -y, and the ground below a person is the level of their lowest joints
    in the two seconds around: their steady trend, which is what a tilt adds to somebody who walks away, and above it a 90th
    percentile, so that jumps stay jumps.

    Args:
        annotation: With ``poses_3d``.
        gap_mm: How far from their nearest neighbour people are drawn at most, see `gap_for`.

    Raises:
        ConfigError: There are no 3D poses, or of a skeleton that is not `H36M17`.
    """

    def __init__(self, annotation: Annotation, *, gap_mm: float = _GAP_MM) -> None:
        sequences = [pose for pose in annotation.poses_3d if len(pose)]
        if not sequences:
            raise ConfigError(
                f"{annotation.video.path}: no 3D poses to draw", hint="posecli lift adds them to a poses file"
            )
        for pose in sequences:
            if pose.skeleton != H36M17.name:
                raise ConfigError(f"3D skeleton {pose.skeleton!r} cannot be drawn", hint=f"known is {H36M17.name}")
        times = annotation.frames.time_s
        step_s = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        per_second = 1.0 / max(step_s, 1e-3)
        has_places = all(np.isfinite(pose.root_mm).all(axis=1).any() for pose in sequences)
        slots = _slots(sequences)
        roots = [
            _smooth_root(pose, per_second) if has_places else np.tile([_SPACING_MM * slot, 0.0, 0.0], (len(pose), 1))
            for pose, slot in zip(sequences, slots, strict=True)
        ]
        self._first = annotation.first_frame_index
        if len(sequences) > 1:
            roots = _bring_together(sequences, roots, gap_mm, per_second)
        self._centres = _follow(sequences, roots, self._first, len(annotation.frames), per_second)
        self._actors = [
            self._place(pose, root, per_second if has_places else 0.0)
            for pose, root in zip(sequences, roots, strict=True)
        ]
        self.num_people = len(self._actors)
        self.rings_mm = _rings([actor.joints_mm for actor in self._actors])
        """(N, 2) radius and y of rings around the axis within which everybody is, in every frame, seen from any side."""

    def figures_at(self, frame_index: int) -> list[Figure]:
        """Who is there in a frame, by track."""
        found = []
        for actor in self._actors:
            row = int(np.searchsorted(actor.frame_indices, frame_index))
            if row < len(actor.frame_indices) and actor.frame_indices[row] == frame_index:
                found.append(Figure(actor.track_id, actor.joints_mm[row], actor.scores[row], H36M17))
        return found

    def centre_at(self, frame_index: int) -> tuple[float, float]:
        """(x, z) of the stage's axis in the video's camera frame, mm: what the ground's pattern is tied to."""
        row = min(max(frame_index - self._first, 0), len(self._centres) - 1)
        return float(self._centres[row, 0]), float(self._centres[row, 1])

    def _place(self, pose: PoseSequence3D, root: _Floats, per_second: float) -> _Actor:
        """One person's joints on the stage; ``per_second`` 0: the root's height is unknown, every frame has its own ground."""
        offsets = root[:, [0, 2]] - self._centres[pose.frame_indices - self._first]
        far = np.linalg.norm(offsets, axis=1, keepdims=True)
        offsets *= np.minimum(1.0, _FARTHEST_MM / np.maximum(far, 1.0))
        joints = pose.joints_mm.astype(np.float64)
        ground = _ground(joints[..., 1] + root[:, 1:2], per_second)
        joints[..., 0] += offsets[:, :1]
        joints[..., 1] += (root[:, 1] - ground - _SOLE_MM)[:, None]
        joints[..., 2] += offsets[:, 1:]
        return _Actor(pose.track_id, pose.frame_indices, joints.astype(np.float32), pose.scores)


def gap_for(size_wh: tuple[int, int]) -> float:
    """How far apart, mm, people should be for a panel: 1.2 m, less in a portrait one, where three in a row would be small."""
    return float(np.clip(_SQUARE_GAP_SHARE * _GAP_MM * size_wh[0] / size_wh[1], _LEAST_GAP_MM, _GAP_MM))


def gather(places_mm: _Floats, gap_mm: float) -> _Floats:
    """Bring people together until nobody, and no group, is farther than a gap from the nearest of the others.

    Args:
        places_mm: (N, 2) where people stand.
        gap_mm: What is left of longer distances between neighbours, those of the minimum spanning tree.

    Returns:
        (N, 2): the first stays; each other is off the neighbour towards the first in the true direction.
    """
    gathered = places_mm.copy()
    nearest = np.zeros(len(places_mm), np.int64)
    distances = np.linalg.norm(places_mm - places_mm[0], axis=1)
    is_in = np.arange(len(places_mm)) == 0
    for _ in range(len(places_mm) - 1):
        k = int(np.argmin(np.where(is_in, np.inf, distances)))
        step = places_mm[k] - places_mm[nearest[k]]
        gathered[k] = gathered[nearest[k]] + step * min(1.0, gap_mm / max(float(distances[k]), 1.0))
        is_in[k] = True
        from_k = np.linalg.norm(places_mm - places_mm[k], axis=1)
        nearest[from_k < distances] = k
        distances = np.minimum(distances, from_k)
    return gathered


def _bring_together(
    sequences: Sequence[PoseSequence3D], roots: Sequence[_Floats], gap_mm: float, per_second: float
) -> list[_Floats]:
    """The roots with x and z of people brought together in every frame, without steps in time.

    Between two frames those who are in both move on average as they truly did, wherever others come or leave.
    """
    rows: dict[int, list[tuple[int, int]]] = {}
    for person, pose in enumerate(sequences):
        for row, frame_index in enumerate(pose.frame_indices.tolist()):
            rows.setdefault(frame_index, []).append((person, row))
    shifts = [np.zeros((len(root), 2)) for root in roots]
    before: dict[int, _Floats] = {}  # how far each person was moved in the last frame with people
    middle = np.zeros(2)  # of them, after that
    for _, there in sorted(rows.items()):
        places = np.array([roots[person][row, [0, 2]] for person, row in there])
        now = dict(zip((person for person, _ in there), gather(places, gap_mm) - places, strict=True))
        stayed = [person for person in now if person in before]
        if stayed:
            common = np.mean([before[person] - now[person] for person in stayed], axis=0)
        elif before:
            common = middle - np.mean(places + list(now.values()), axis=0)
        else:
            common = -np.mean(list(now.values()), axis=0)
        for person, row in there:
            now[person] = now[person] + common
            shifts[person][row] = now[person]
        before, middle = now, np.mean(places + list(now.values()), axis=0)
    gathered = [root.copy() for root in roots]
    for root, shift in zip(gathered, shifts, strict=True):
        # Who is whose neighbour changes suddenly: people glide.
        root[:, [0, 2]] += gaussian_filter1d(shift, _FOLLOW_SMOOTHING_S * per_second, axis=0, mode="nearest")
    return gathered


def _slots(sequences: Sequence[PoseSequence3D]) -> list[int]:
    """A place in a row for each track, used again once its owner has left."""
    free_from: list[int] = []
    slots = [0] * len(sequences)
    for k in sorted(range(len(sequences)), key=lambda k: int(sequences[k].frame_indices[0])):
        start, end = (int(sequences[k].frame_indices[row]) for row in (0, -1))
        slot = next((s for s, free in enumerate(free_from) if free <= start), len(free_from))
        free_from[slot:] = [end + 1, *free_from[slot + 1 :]]
        slots[k] = slot
    return slots


def _filled(values: _Floats) -> _Floats:
    """(T, D) with the rows that are not finite taken from their neighbours, in a line; 0 where there are none."""
    is_there = np.isfinite(values).all(axis=1)
    if not is_there.any():
        return np.zeros_like(values)
    rows = np.arange(len(values))
    return np.stack([np.interp(rows, rows[is_there], column[is_there]) for column in values.T], axis=-1)


def _smooth_root(pose: PoseSequence3D, per_second: float) -> _Floats:
    root = _filled(pose.root_mm.astype(np.float64))
    return np.asarray(gaussian_filter1d(root, _ROOT_SMOOTHING_S * per_second, axis=0, mode="nearest"))


def _ground(heights_mm: _Floats, per_second: float) -> _Floats:
    """(T,) y of the ground under one person, from the y of their joints (T, J)."""
    has_joints = np.isfinite(heights_mm).any(axis=1)
    lowest = np.where(has_joints, np.max(heights_mm, axis=1, initial=-np.inf, where=np.isfinite(heights_mm)), np.nan)
    lowest = _filled(lowest[:, None])[:, 0]
    window = min(round(_GROUND_WINDOW_S * per_second), len(lowest)) // 2 * 2 - 1
    if window < 3:
        return lowest
    # Somebody who walks away from a tilted camera seems to climb or sink steadily: that is the trend, steps and jumps are not.
    trend, grounded = lowest, lowest
    for _ in range(_GROUND_ROUNDS):
        trend = savgol_filter(grounded, window, polyorder=1, mode="interp")
        grounded = np.maximum(lowest, trend)  # what is in the air does not pull
    level = percentile_filter(lowest - trend, _GROUND_PERCENTILE, size=window, mode="nearest")
    return np.asarray(trend + uniform_filter1d(level, window, mode="nearest"))


def _follow(
    sequences: Sequence[PoseSequence3D], roots: Sequence[_Floats], first: int, count: int, per_second: float
) -> _Floats:
    """(T, 2): x and z midway between the outermost people, smoothed; in empty frames between those before and after."""
    low, high = np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    for pose, root in zip(sequences, roots, strict=True):
        rows = pose.frame_indices - first
        low[rows] = np.fmin(low[rows], root[:, [0, 2]])
        high[rows] = np.fmax(high[rows], root[:, [0, 2]])
    middles = 0.5 * (low + high)
    return np.asarray(gaussian_filter1d(_filled(middles), _FOLLOW_SMOOTHING_S * per_second, axis=0, mode="nearest"))


def _rings(joints_mm: Sequence[FloatArray]) -> _Floats:
    """(2 N, 2): for layers of height, the largest distance from the axis, at the layer's upper and lower edge."""
    points = np.concatenate([joints.reshape(-1, 3) for joints in joints_mm]).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        points = np.array([[0.0, -10.0 * STANDARD_HEIGHT_CM, 0.0], [0.0, 0.0, 0.0]])
    top, bottom = points[:, 1].min() - _FLESH_MM, max(points[:, 1].max(), 0.0) + 0.3 * _FLESH_MM
    edges = np.linspace(top, bottom, _NUM_RINGS + 1)
    layer = np.clip(((points[:, 1] - top) / (bottom - top) * _NUM_RINGS).astype(int), 0, _NUM_RINGS - 1)
    radius = np.zeros(_NUM_RINGS)
    is_alone = len(joints_mm) == 1
    flesh = _FLESH_MM if is_alone else _LIMB_FLESH_MM
    np.maximum.at(radius, layer, np.hypot(points[:, 0], points[:, 2]) + flesh)
    if not is_alone:
        # The top of a head is above its joint: with people off the axis that is where the nearest would be cut.
        radius = maximum_filter1d(radius, 3, mode="nearest")
    return np.concatenate([np.stack([radius, edges[:-1]], axis=1), np.stack([radius, edges[1:]], axis=1)])
