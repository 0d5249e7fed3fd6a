"""People in 3D drawn as jointed figures: round limbs, near ones over far ones, in the colours of the 2D overlay.

Limbs are cut into short pieces; pieces and joints are drawn from far to near (painter's order), each in a few tones from a dark
outline to a light core, twice as large as shown and then reduced. The centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.records import ImageArray
from posecli.skeletons import JointTree
from posecli.video.overlay import SIDE_COLOURS
from posecli.video.stage import Figure
from posecli.video.turntable import TurntableCamera

_Floats = NDArray[np.float64]
_Colour = tuple[int, ...]
_Tones = tuple[tuple[float, float], ...]
_Stroke = Callable[[ImageArray], object]

# Half the width of a limb at a joint.
_RADII_MM = {"hip": 38.0, "knee": 31.0, "ankle": 22.0, "shoulder": 31.0, "elbow": 26.0, "wrist": 19.0}
_TRUNK_RADIUS_MM = 33.0
_HEAD_RADIUS_MM = 98.0
_JOINT_SCALE = 1.12  # a joint's ball against its limb
_NARROWEST_PX = 1.3  # half the width, for people far away

_SUPERSAMPLING = 2
_SHIFT = 4
_NUM_PIECES = 4
# How much of the width a tone covers, around the line where the light falls, and how bright it is.
_LIMB_TONES = ((1.0, 0.6), (0.84, 0.75), (0.64, 0.88), (0.44, 0.98), (0.22, 1.06))
_BALL_TONES = ((1.0, 0.56), (0.9, 0.66), (0.78, 0.76), (0.64, 0.85), (0.5, 0.93), (0.36, 1.0), (0.2, 1.06))
_LIGHT = np.array([-0.45, -0.6])  # from the upper left
_OUTLINE = 0.16  # brightness
_HAZE = 0.3  # how far the farthest limb fades
_FAINT = 0.6  # how far what nobody saw fades
_SURE_SCORE = 0.3


@dataclass(frozen=True, slots=True)
class Bones:
    """All limbs of some figures.

    ``ends_mm`` (N, 2, 3) on the stage, ``radii_mm`` (N, 2) at the ends, ``colours`` (N, 3), ``fading`` (N,) in [0, 1].
    """

    ends_mm: _Floats
    radii_mm: _Floats
    colours: _Floats
    fading: _Floats


@dataclass(frozen=True, slots=True)
class _Balls:
    """All joints of some figures: ``centres_mm`` (N, 3), ``radii_mm`` (N,), ``colours`` (N, 3), ``fading`` (N,)."""

    centres_mm: _Floats
    radii_mm: _Floats
    colours: _Floats
    fading: _Floats


def bones_of(figures: Sequence[Figure]) -> Bones:
    """The limbs whose two ends are there."""
    ends, radii, colours, fading = [], [], [], []
    for figure in figures:
        joints, tree = figure.joints_mm, figure.tree
        is_there = np.asarray(np.isfinite(joints).all(axis=1))
        for parent, joint in tree.bones:
            if is_there[parent] and is_there[joint]:
                ends.append(joints[[parent, joint]])
                radii.append((_limb_radius(tree, parent, joint), _limb_radius(tree, joint, parent)))
                colours.append(_colour(tree, joint))
                fading.append(_FAINT if figure.scores[[parent, joint]].min() < _SURE_SCORE else 0.0)
    return Bones(
        np.array(ends, np.float64).reshape(-1, 2, 3),
        np.array(radii, np.float64).reshape(-1, 2),
        np.array(colours, np.float64).reshape(-1, 3),
        np.array(fading, np.float64),
    )


def draw_figures(
    canvas: ImageArray, figures: Sequence[Figure], camera: TurntableCamera, azimuth_rad: float, *, haze: _Colour
) -> None:
    """Draw people into a picture, near limbs over far ones.

    Joints that are NaN are not drawn, nor limbs that end in one; what has a score below 0.3 is drawn faintly, because a body in
    3D is estimated as a whole.

    Args:
        canvas: (H, W, 3) uint8 RGB of the camera's size; written to.
        figures: People of one frame.
        camera: What looks at the stage.
        azimuth_rad: Where it is on its circle.
        haze: The colour far and unsure limbs fade to.
    """
    bones, balls = bones_of(figures), _balls_of(figures)
    if len(balls.fading) == 0:
        return
    points, depths = camera.project(balls.centres_mm, azimuth_rad)
    reach = np.maximum(camera.focal_px * balls.radii_mm / depths, _NARROWEST_PX) * 1.4 + 4
    low = np.floor((points - reach[:, None]).min(axis=0)).astype(int).clip(0, None)
    high = np.ceil((points + reach[:, None]).max(axis=0)).astype(int).clip(0, None) + 1
    window = canvas[low[1] : high[1], low[0] : high[0]]
    if window.size == 0:
        return
    view = _View(camera, azimuth_rad, low, np.array(haze, np.float64))
    large_wh = (window.shape[1] * _SUPERSAMPLING, window.shape[0] * _SUPERSAMPLING)
    large = np.asarray(cv2.resize(window, large_wh, interpolation=cv2.INTER_NEAREST), np.uint8)
    strokes = [*view.limb_strokes(bones), *view.ball_strokes(balls)]
    for _, stroke in sorted(strokes, key=lambda pair: -pair[0]):
        stroke(large)
    cv2.resize(large, window.shape[1::-1], dst=window, interpolation=cv2.INTER_AREA)


def _limb_radius(tree: JointTree, joint: int, other: int) -> float:
    """Half the width of the limb between two joints, at the first; limbs that join a side to the trunk are as thin as that side."""
    part, other_part = (tree.joint_names[k].split("_")[-1] for k in (joint, other))
    return _RADII_MM.get(part, _RADII_MM.get(other_part, _TRUNK_RADIUS_MM))


def _colour(tree: JointTree, joint: int) -> tuple[int, int, int]:
    """The colour of the side a joint, and the limb that leads to it, is on."""
    return SIDE_COLOURS[next((s for s in ("left", "right") if tree.joint_names[joint].startswith(s)), "middle")]


def _balls_of(figures: Sequence[Figure]) -> _Balls:
    centres, radii, colours, fading = [], [], [], []
    for figure in figures:
        for joint in np.flatnonzero(np.isfinite(figure.joints_mm).all(axis=1)).tolist():
            is_head = figure.tree.joint_names[joint] == "head"
            centres.append(figure.joints_mm[joint])
            radii.append(_HEAD_RADIUS_MM if is_head else _JOINT_SCALE * _limb_radius(figure.tree, joint, joint))
            colours.append(_colour(figure.tree, joint))
            fading.append(_FAINT if figure.scores[joint] < _SURE_SCORE else 0.0)
    return _Balls(
        np.array(centres, np.float64).reshape(-1, 3),
        np.array(radii, np.float64),
        np.array(colours, np.float64).reshape(-1, 3),
        np.array(fading, np.float64),
    )


class _View:
    """Strokes for one window of one picture, in pixels twice as fine, each with its depth."""

    def __init__(
        self, camera: TurntableCamera, azimuth_rad: float, origin_px: NDArray[np.int64], haze: _Floats
    ) -> None:
        self._camera = camera
        self._azimuth_rad = azimuth_rad
        self._origin_px = origin_px
        self._haze = haze

    def limb_strokes(self, bones: Bones) -> list[tuple[float, _Stroke]]:
        """Every limb in pieces, so that limbs that cross are each in front where they are."""
        steps = np.linspace(0.0, 1.0, _NUM_PIECES + 1)[:, None]
        knots = bones.ends_mm[:, :1] * (1 - steps) + bones.ends_mm[:, 1:] * steps
        radii = bones.radii_mm[:, :1] * (1 - steps[:, 0]) + bones.radii_mm[:, 1:] * steps[:, 0]
        points, depths = self._project(knots)
        corners = _piece_corners(points, self._radius_px(radii, depths))
        middle_depths = 0.5 * (depths[:, :-1] + depths[:, 1:])
        colours = self._tones(bones.colours[:, None], bones.fading[:, None], middle_depths, _LIMB_TONES)
        return [
            (float(depth), _polygons(corners[at], colours[at[0]][at[1]])) for at, depth in np.ndenumerate(middle_depths)
        ]

    def ball_strokes(self, balls: _Balls) -> list[tuple[float, _Stroke]]:
        """Every joint."""
        points, depths = self._project(balls.centres_mm)
        radii = self._radius_px(balls.radii_mm, depths)
        colours = self._tones(balls.colours, balls.fading, depths, _BALL_TONES)
        sizes = [radii + _outline_px(radii), *(cover * radii for cover, _ in _BALL_TONES)]
        shifts = [0.0, *((1 - cover) * 0.7 for cover, _ in _BALL_TONES)]
        centres = _fixed(np.stack([points + _LIGHT * (shift * radii)[:, None] for shift in shifts], axis=1))
        sizes_fixed = _fixed(np.stack(sizes, axis=1))
        near = depths - 0.5 * balls.radii_mm
        return [
            (float(near[n]), _discs(centres[n].tolist(), sizes_fixed[n].tolist(), colours[n]))
            for n in range(len(depths))
        ]

    def _project(self, points_mm: _Floats) -> tuple[_Floats, _Floats]:
        points, depths = self._camera.project(points_mm, self._azimuth_rad)
        return (points - self._origin_px + 0.5) * _SUPERSAMPLING - 0.5, depths

    def _radius_px(self, radii_mm: _Floats, depths: _Floats) -> _Floats:
        return np.maximum(self._camera.focal_px * radii_mm / depths, _NARROWEST_PX) * _SUPERSAMPLING

    def _tones(self, colours: _Floats, fading: _Floats, depths: _Floats, tones: _Tones) -> list[Any]:
        """For each stroke its colours, outline first: (..., 3) colours, (...) fading and depths -> nested lists (..., tones, 3)."""
        distance = self._camera.distance_mm
        haze = _HAZE * np.clip((depths - 0.85 * distance) / (0.3 * distance), 0.0, 1.0)
        keep = ((1 - haze) * (1 - fading))[..., None, None]
        brightness = np.array([_OUTLINE, *(bright for _, bright in tones)])[:, None]
        shaded = np.minimum(colours[..., None, :] * brightness + 400 * np.maximum(brightness - 1, 0), 255.0)
        return np.rint(shaded * keep + self._haze * (1 - keep)).astype(int).tolist()


def _outline_px(radii_px: _Floats) -> _Floats:
    return np.clip(0.22 * radii_px, 0.4 * _SUPERSAMPLING, 2.0 * _SUPERSAMPLING)


def _piece_corners(points: _Floats, radii_px: _Floats) -> NDArray[np.int32]:
    """The outlines of limbs' pieces, one for each tone, the widest first.

    Args:
        points: (N, P + 1, 2) px, where the P pieces of N limbs meet.
        radii_px: (N, P + 1) half the width there.

    Returns:
        (N, P, tones, 4, 2) with `_SHIFT` fractional bits.
    """
    along = points[:, -1] - points[:, 0]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    bright = (across @ _LIGHT)[:, None]  # where across the limb the light falls, in half widths
    reach = 1 + _outline_px(radii_px) / radii_px
    edges = [
        (-reach, reach),
        *((bright - cover * (1 + bright), bright + cover * (1 - bright)) for cover, _ in _LIMB_TONES),
    ]
    layers = []
    for k, pair in enumerate(edges):
        # Outlines end with the piece, lighter tones run on a little: no seam is seen where pieces meet.
        overlap = along[:, None] * (0.5 * k)
        left, right = (points + across[:, None] * (radii_px * at)[..., None] for at in pair)
        ends = (left[:, :-1] - overlap, right[:, :-1] - overlap, right[:, 1:] + overlap, left[:, 1:] + overlap)
        layers.append(np.stack(ends, axis=2))
    return _fixed(np.stack(layers, axis=2))


def _fixed(values: _Floats) -> NDArray[np.int32]:
    return np.rint(values * (1 << _SHIFT)).astype(np.int32)


def _polygons(corners: NDArray[np.int32], colours: Sequence[Sequence[int]]) -> _Stroke:
    def stroke(canvas: ImageArray) -> None:
        for polygon, colour in zip(corners, colours, strict=True):
            cv2.fillConvexPoly(canvas, polygon, colour, cv2.LINE_AA, _SHIFT)

    return stroke


def _discs(centres: list[list[int]], radii: list[int], colours: Sequence[Sequence[int]]) -> _Stroke:
    def stroke(canvas: ImageArray) -> None:
        for centre, radius, colour in zip(centres, radii, colours, strict=True):
            cv2.circle(canvas, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)

    return stroke
