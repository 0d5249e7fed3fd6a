"""A contact sheet of the people a network does worst on: its pose in colour, the labels in white.

Left limbs are blue, right ones orange, the middle of the body yellow; the less sure, the thinner. The dots of the
labels have these colours at their heart, so that exchanged sides show. The labelled box is grey.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from posecli.evaluation.judgement import PersonMarks
from posecli.evaluation.pictures import read_picture
from posecli.formats.ground_truth import GroundTruth
from posecli.geometry import CropTransform
from posecli.records import BoolArray, FloatArray, ImageArray
from posecli.skeletons import POSECLI19
from posecli.video.overlay import PERSON_COLOURS, SIDE_COLOURS, Colour, draw_text

MIN_FRAMES_BETWEEN = 15
_CELL_PX = 320
_GAP_PX = 6
_ENLARGE = 1.5
_BACKGROUND = 32
_WHITE: Colour = (255, 255, 255)
_BLACK: Colour = (0, 0, 0)
_GREY: Colour = (150, 150, 150)
_MIDDLE: Colour = PERSON_COLOURS[0]
_SHIFT = 4  # fractional bits of coordinates
_FARTHEST_PX = 4 * _CELL_PX


@dataclass(frozen=True, slots=True)
class Moment:
    """Somebody at some time in a video: clip and track, and the frame."""

    who: tuple[str, int]
    frame: int


@dataclass(frozen=True, slots=True)
class WorstPerson:
    """Somebody to be shown: ``place`` among the `PersonMarks`, the id of the picture, and what stands above the cell."""

    place: int
    image_id: int
    title: str


def choose_worst(
    marks: PersonMarks, truth: GroundTruth, count: int, *, moments: Mapping[int, Moment] | None = None
) -> list[WorstPerson]:
    """The people with the lowest marks, worst first.

    Args:
        marks: Everybody's.
        truth: The labels.
        count: How many at most.
        moments: Of videos: who and when each person is, by its place in ``marks``; nobody is shown twice within `MIN_FRAMES_BETWEEN`.
    """
    names = {image.image_id: image.file_name for image in truth.images}
    shown: dict[tuple[str, int], list[int]] = {}
    chosen: list[WorstPerson] = []
    for place in marks.worst().tolist():
        if len(chosen) == count:
            break
        row = int(marks.truth_rows[place])
        image_id = int(truth.image_ids[row])
        name = f"id {int(truth.annotation_ids[row])}  {names[image_id]}"
        if moments is not None:
            who, frame = moments[place].who, moments[place].frame
            if any(abs(frame - other) < MIN_FRAMES_BETWEEN for other in shown.get(who, [])):
                continue
            shown.setdefault(who, []).append(frame)
            name = f"{who[0]}  frame {frame}  track {who[1]}"
        chosen.append(WorstPerson(place, image_id, f"{len(chosen) + 1}. {name}"))
    return chosen


def worst_sheet(
    people: list[WorstPerson],
    marks: PersonMarks,
    truth: GroundTruth,
    pictures: Mapping[int, ImageArray],
    *,
    columns: int = 6,
) -> ImageArray:
    """Draw them in rows.

    Args:
        people: Whom; at least one.
        marks: Everybody's.
        truth: The labels.
        pictures: (H, W, 3) uint8 RGB by image id.
        columns: People side by side.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    cells = [_cell(person, marks, truth, pictures[person.image_id]) for person in people]
    columns = min(columns, len(cells))
    step = _CELL_PX + _GAP_PX
    sheet = np.full((-(-len(cells) // columns) * step + _GAP_PX, columns * step + _GAP_PX, 3), _BACKGROUND, np.uint8)
    for k, cell in enumerate(cells):
        top, left = k // columns * step + _GAP_PX, k % columns * step + _GAP_PX
        sheet[top : top + _CELL_PX, left : left + _CELL_PX] = cell
    return sheet


def worst_stills(marks: PersonMarks, truth: GroundTruth, images_dir: Path, count: int) -> ImageArray:
    """The sheet of labelled pictures.

    Raises:
        VideoError: A picture is missing or cannot be decoded.
    """
    people = choose_worst(marks, truth, count)
    images = {image.image_id: image for image in truth.images}
    wanted = {person.image_id for person in people}
    pictures = {image_id: read_picture(images_dir, images[image_id]) for image_id in wanted}
    return worst_sheet(people, marks, truth, pictures)


def _cell(person: WorstPerson, marks: PersonMarks, truth: GroundTruth, picture: ImageArray) -> ImageArray:
    row, place = int(marks.truth_rows[person.place]), person.place
    crop = CropTransform.from_box(truth.boxes[row], (_CELL_PX, _CELL_PX), enlarge=_ENLARGE)
    border = (_BACKGROUND, _BACKGROUND, _BACKGROUND)
    flags = cv2.INTER_AREA if crop.scale < 0.5 else cv2.INTER_LINEAR
    cell = np.asarray(cv2.warpAffine(picture, crop.matrix, crop.size_wh, flags=flags, borderValue=border), np.uint8)
    low, high = (_fixed(corner) for corner in crop.to_crop(truth.boxes[row].reshape(2, 2)))
    cv2.rectangle(cell, low, high, _GREY, 1, cv2.LINE_AA, _SHIFT)
    points, scores = marks.keypoints[place], marks.point_scores[place]
    _draw_prediction(cell, crop.to_crop(points), scores, np.asarray(np.isfinite(points).all(axis=1)))
    labels = truth.keypoints[row]
    _draw_labels(cell, crop.to_crop(labels[:, :2]), np.asarray(labels[:, 2] > 0))
    draw_text(cell, _ascii(person.title), (0, 0), text_px=10, background=_BLACK)
    result = f"OKS {marks.oks[place]:.2f}  PCK@0.1 {100 * marks.pck[place]:.0f} %"
    caption = result if marks.rows[place] >= 0 else "not found"
    draw_text(cell, caption, (0, _CELL_PX - 1), text_px=10, background=_BLACK)
    return cell


def _draw_prediction(cell: ImageArray, points: FloatArray, scores: FloatArray, is_there: BoolArray) -> None:
    for a, b in POSECLI19.limbs:
        if is_there[a] and is_there[b]:
            width = 1 + round(3 * float(min(scores[a], scores[b])))
            _line(cell, points[[a, b]], _BLACK, width + 2)
            _line(cell, points[[a, b]], _colour(a, b), width)
    for k in np.flatnonzero(is_there):
        cv2.circle(cell, _fixed(points[k]), 3 << _SHIFT, _colour(int(k), int(k)), cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_labels(cell: ImageArray, points: FloatArray, is_there: BoolArray) -> None:
    for a, b in POSECLI19.limbs:
        if is_there[a] and is_there[b]:
            _line(cell, points[[a, b]], _WHITE, 1)
    for k in np.flatnonzero(is_there):
        for radius, colour in ((5, _BLACK), (4, _WHITE), (2, _colour(int(k), int(k)))):
            cv2.circle(cell, _fixed(points[k]), radius << _SHIFT, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _line(cell: ImageArray, ends: FloatArray, colour: Colour, width: int) -> None:
    cv2.line(cell, _fixed(ends[0]), _fixed(ends[1]), colour, width, cv2.LINE_AA, _SHIFT)


def _colour(a: int, b: int) -> Colour:
    sides = {POSECLI19.side(k) for k in (a, b)} - {"middle"}
    return SIDE_COLOURS[sides.pop()] if len(sides) == 1 else _MIDDLE


def _fixed(point: FloatArray) -> tuple[int, int]:
    x, y = np.rint(np.clip(point, -_FARTHEST_PX, _FARTHEST_PX) * (1 << _SHIFT)).astype(int)
    return int(x), int(y)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
