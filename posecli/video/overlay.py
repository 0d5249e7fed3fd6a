"""Poses drawn on pictures. Pure functions: the picture given is not changed.

Colours tell the side of the body (left blue, right orange, middle white: also for the colour-blind), the box and the label tell the
person. Widths follow the size of the picture and of the person. Unsure limbs fade, limbs between detections (interpolated) are
dashed. Everything is drawn at sixteenths of a pixel; the centre of the top-left pixel is (0, 0), as cv2 has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.errors import ConfigError
from posecli.records import FloatArray, ImageArray
from posecli.skeletons import Skeleton

Colour = tuple[int, int, int]

SIDE_COLOURS: Mapping[str, Colour] = MappingProxyType(
    {"left": (70, 170, 255), "right": (255, 130, 20), "middle": (240, 240, 240)}
)
# None of them looks like a side.
PERSON_COLOURS: tuple[Colour, ...] = (
    *((240, 228, 66), (0, 158, 115), (204, 121, 167), (51, 34, 136), (170, 200, 60)),
    *((170, 120, 255), (255, 170, 187), (136, 34, 85), (0, 190, 170), (190, 190, 190)),
)
_OUTLINE: Colour = (20, 20, 20)
_SHIFT = 4  # fractional bits of coordinates
_SURE_SCORE = 0.75
_FAINTEST = 0.35
_FARTHEST_PX = 1e5
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class OverlayStyle:
    """How poses look. Scales multiply the width that fits the picture."""

    line_scale: float = 1.0
    dot_scale: float = 1.0
    background: Literal["picture", "black"] = "picture"
    has_outline: bool = True
    has_boxes: bool = True
    has_labels: bool = True

    def __post_init__(self) -> None:
        if not (self.line_scale > 0 and self.dot_scale >= 0):
            raise ConfigError(
                f"overlay style: line_scale {self.line_scale} and dot_scale {self.dot_scale} cannot be drawn"
            )


OVERLAY_STYLES: Mapping[str, OverlayStyle] = MappingProxyType(
    {
        "default": OverlayStyle(),
        "thin": OverlayStyle(line_scale=0.5, dot_scale=0.8),
        "bold": OverlayStyle(line_scale=1.8, dot_scale=1.1),
        "skeleton": OverlayStyle(background="black", has_outline=False, has_boxes=False),
    }
)


@dataclass(frozen=True, slots=True)
class DrawnPose:
    """One person in one picture: ``keypoints`` (K, 2) px, ``scores`` (K,), ``box`` (4,) xyxy px."""

    track_id: int
    keypoints: FloatArray
    scores: FloatArray
    box: FloatArray | None
    skeleton: Skeleton
    interpolated: bool = False


@dataclass(frozen=True, slots=True)
class _Pen:
    line_px: float
    outline_px: float
    dot_px: float
    dash_px: float | None


def get_style(name: str) -> OverlayStyle:
    """The style of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in OVERLAY_STYLES:
        raise ConfigError(f"unknown overlay style {name!r}", hint=f"one of {', '.join(OVERLAY_STYLES)}")
    return OVERLAY_STYLES[name]


def person_colour(track_id: int) -> Colour:
    """The accent colour of a track; colours repeat after ten."""
    return PERSON_COLOURS[track_id % len(PERSON_COLOURS)]


def limb_colour(skeleton: Skeleton, limb: tuple[int, int]) -> Colour:
    """The colour of the side a limb is on; one that joins both sides is in the middle."""
    sides = {skeleton.side(k) for k in limb} - {"middle"}
    return SIDE_COLOURS[sides.pop() if len(sides) == 1 else "middle"]


def draw_poses(
    image: ImageArray,
    poses: Sequence[DrawnPose],
    *,
    style: OverlayStyle = OVERLAY_STYLES["default"],
    min_score: float = 0.3,
) -> ImageArray:
    """A copy of a picture with poses on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        poses: People; later ones are drawn over earlier ones, labels over all.
        style: How they look.
        min_score: Keypoints below it, and limbs that end in one, are not drawn.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    canvas = np.zeros_like(image) if style.background == "black" else image.copy()
    pens = [_pen(image, pose, style) for pose in poses]
    if style.has_boxes:
        for pose, pen in zip(poses, pens, strict=True):
            _draw_box(canvas, pose, pen)
    for pose, pen in zip(poses, pens, strict=True):
        _draw_pose(canvas, pose, pen, min_score)
    if style.has_labels:
        for pose in poses:
            _draw_label(canvas, pose, min_score)
    return canvas


def _pen(image: ImageArray, pose: DrawnPose, style: OverlayStyle) -> _Pen:
    """Widths that fit: 4 px on a person half as high as a 720p picture, growing with the root of the person's size."""
    side_px = min(image.shape[:2])
    size = _person_size_px(pose) / (0.5 * side_px)
    line_px = side_px / 180 * float(np.clip(np.sqrt(size), 0.5, 1.3)) * style.line_scale
    line_px = max(line_px * (0.7 if pose.interpolated else 1.0), 1.0)
    # On the smallest people an outline would be wider than the limb.
    outline_px = max(0.35 * line_px, 1.0) if style.has_outline and line_px >= 1.75 else 0.0
    return _Pen(line_px, outline_px, 0.85 * line_px * style.dot_scale, 2.5 * line_px if pose.interpolated else None)


def _box(pose: DrawnPose) -> FloatArray | None:
    return None if pose.box is None or not np.isfinite(pose.box).all() else pose.box


def _person_size_px(pose: DrawnPose) -> float:
    box = _box(pose)
    if box is not None:
        return float(max(box[2:] - box[:2]).clip(1.0))
    points = pose.keypoints[np.isfinite(pose.keypoints).all(axis=1)]
    return float((points.max(axis=0) - points.min(axis=0)).max()) if len(points) else 1.0


def _draw_pose(canvas: ImageArray, pose: DrawnPose, pen: _Pen, min_score: float) -> None:
    is_drawn = np.isfinite(pose.keypoints).all(axis=1) & (pose.scores >= min_score)
    limbs = [limb for limb in pose.skeleton.limbs if is_drawn[limb[0]] and is_drawn[limb[1]]]
    points = np.clip(pose.keypoints, -_FARTHEST_PX, _FARTHEST_PX)
    alphas = _alphas(pose.scores, min_score)
    if pen.outline_px:
        for limb in limbs:
            ends, alpha = points[list(limb)], float(alphas[list(limb)].min())
            _draw_line(canvas, ends, _OUTLINE, pen.line_px + 2 * pen.outline_px, alpha, pen.dash_px)
    for limb in limbs:
        ends, alpha = points[list(limb)], float(alphas[list(limb)].min())
        _draw_line(canvas, ends, limb_colour(pose.skeleton, limb), pen.line_px, alpha, pen.dash_px)
    for k in np.flatnonzero(is_drawn):
        _draw_dot(canvas, points[k], SIDE_COLOURS[pose.skeleton.side(int(k))], pen, float(alphas[k]))


def _alphas(scores: FloatArray, min_score: float) -> FloatArray:
    """(K,) opacity: faint at ``min_score``, full from `_SURE_SCORE` on."""
    span = max(_SURE_SCORE - min_score, 1e-6)
    alphas = _FAINTEST + (1 - _FAINTEST) * (scores - min_score) / span
    return np.asarray(np.clip(alphas, _FAINTEST, 1.0), np.float32)


def _fixed(point: NDArray[np.floating]) -> tuple[int, int]:
    x, y = np.rint(np.asarray(point, np.float64) * (1 << _SHIFT)).astype(int)
    return int(x), int(y)


def _draw_line(
    canvas: ImageArray, ends: FloatArray, colour: Colour, width_px: float, alpha: float, dash_px: float | None = None
) -> None:
    thickness = max(round(width_px), 1)
    window = _window(canvas, ends, thickness)
    if window.size == 0:
        return
    offset = np.array([_low(ends[:, 0], thickness), _low(ends[:, 1], thickness)], np.float32)
    target = window if alpha >= 1.0 else window.copy()
    for start, end in _dashes(ends - offset, dash_px):
        cv2.line(target, _fixed(start), _fixed(end), colour, thickness, cv2.LINE_AA, _SHIFT)
    if target is not window:
        cv2.addWeighted(target, alpha, window, 1.0 - alpha, 0.0, dst=window)


def _window(canvas: ImageArray, points: FloatArray, margin_px: int) -> ImageArray:
    """The part of the canvas around some points, as a view."""
    left, top = _low(points[:, 0], margin_px), _low(points[:, 1], margin_px)
    right, bottom = (max(int(np.ceil(v.max())) + margin_px + 1, 0) for v in points.T)
    return canvas[top:bottom, left:right]


def _low(values: NDArray[np.floating], margin_px: int) -> int:
    return max(int(np.floor(values.min())) - margin_px, 0)


def _dashes(ends: FloatArray, dash_px: float | None) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The strokes of a line; dashed ones begin and end with a stroke, so both ends are seen."""
    start, end = ends
    length_px = float(np.linalg.norm(end - start))
    num_strokes = 1 if dash_px is None else max(round((length_px / dash_px + 1) / 2), 2)
    steps = np.linspace(0.0, 1.0, 2 * num_strokes, dtype=np.float32)
    for low, high in zip(steps[::2], steps[1::2], strict=True):
        yield start + (end - start) * low, start + (end - start) * high


def _draw_dot(canvas: ImageArray, point: FloatArray, colour: Colour, pen: _Pen, alpha: float) -> None:
    if pen.dot_px <= 0:
        return
    reach = int(np.ceil(pen.dot_px + pen.outline_px)) + 1
    window = _window(canvas, point[None], reach)
    if window.size == 0:
        return
    centre = _fixed(point - np.array([_low(point[:1], reach), _low(point[1:], reach)], np.float32))
    target = window if alpha >= 1.0 else window.copy()
    for radius_px, fill in ((pen.dot_px + pen.outline_px, _OUTLINE), (pen.dot_px, colour)):
        if fill is colour or pen.outline_px:
            cv2.circle(target, centre, round(radius_px * (1 << _SHIFT)), fill, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    if target is not window:
        cv2.addWeighted(target, alpha, window, 1.0 - alpha, 0.0, dst=window)


def _draw_box(canvas: ImageArray, pose: DrawnPose, pen: _Pen) -> None:
    box = _box(pose)
    if box is None:
        return
    left, top, right, bottom = np.clip(box, -_FARTHEST_PX, _FARTHEST_PX)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    for k in range(4):
        side = corners[[k, (k + 1) % 4]]
        dash_px = None if pen.dash_px is None else 3 * pen.dash_px
        _draw_line(canvas, side, person_colour(pose.track_id), 0.5 * pen.line_px, 1.0, dash_px)


def _draw_label(canvas: ImageArray, pose: DrawnPose, min_score: float) -> None:
    """The id, above the top-left corner of the person, inside the picture."""
    anchor = _label_anchor(pose, min_score)
    if anchor is None:
        return
    height, width = canvas.shape[:2]
    text_px = max(0.028 * min(height, width), 11.0)
    colour = person_colour(pose.track_id)
    draw_text(canvas, f"{pose.track_id}", anchor, text_px=text_px, background=colour)


def _label_anchor(pose: DrawnPose, min_score: float) -> tuple[float, float] | None:
    """Where the lower left corner of the label goes, px."""
    box = _box(pose)
    if box is not None:
        return float(box[0]), float(box[1])
    points = pose.keypoints[np.isfinite(pose.keypoints).all(axis=1) & (pose.scores >= min_score)]
    return None if len(points) == 0 else (float(points[:, 0].min()), float(points[:, 1].min()))


def draw_text(
    canvas: ImageArray, text: str, lower_left: tuple[float, float], *, text_px: float, background: Colour
) -> None:
    """Write text on a filled box into a picture, moved so that it lies inside.

    Args:
        canvas: (H, W, 3) uint8 RGB; written to.
        text: ASCII.
        lower_left: (x, y) of the lower left corner of the box, px.
        text_px: Height of the letters.
        background: Colour of the box; the letters are black or white, whichever is readable on it.
    """
    scale = text_px / cv2.getTextSize("0", _FONT, 1.0, 1)[0][1]
    thickness = max(round(text_px / 9), 1)
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = max(round(0.35 * text_px), 2)
    box_width, box_height = text_width + 2 * pad, text_height + 2 * pad
    height, width = canvas.shape[:2]
    left = round(min(max(lower_left[0], 0), max(width - box_width, 0)))
    bottom = round(min(max(lower_left[1], box_height), height - 1))
    cv2.rectangle(canvas, (left, bottom - box_height), (left + box_width, bottom), background, cv2.FILLED)
    is_bright = float(np.dot(background, (0.299, 0.587, 0.114))) > 120
    letters = (0, 0, 0) if is_bright else (255, 255, 255)
    cv2.putText(canvas, text, (left + pad, bottom - pad), _FONT, scale, letters, thickness, cv2.LINE_AA)
