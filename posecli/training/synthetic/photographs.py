"""Photographs without people, and the parts without people of others: backgrounds and prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from posecli.errors import FormatError
from posecli.formats.ground_truth import read_ground_truth
from posecli.records import FloatArray, ImageArray

_MIN_SIDE_PX = 130


@dataclass(frozen=True, slots=True)
class Photographs:
    """``places``: paths with left, top, right, bottom px of the part that may be used."""

    places: tuple[tuple[Path, tuple[int, int, int, int]], ...]

    def pick(self, rng: np.random.Generator) -> ImageArray | None:
        """One of them, mirrored or not, (H, W, 3) RGB; ``None`` when there are none.

        Raises:
            FormatError: A picture cannot be read.
        """
        if not self.places:
            return None
        path, (left, top, right, bottom) = self.places[int(rng.integers(len(self.places)))]
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise FormatError(f"{path}: cannot be read as an image")
        part = np.asarray(image[top:bottom, left:right], np.uint8)
        return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)


def find_photographs(label_files: Sequence[Path], *, leave_out_modulo: int = 0) -> Photographs:
    """Collect what has no people in it.

    Args:
        label_files: COCO-style files with boxes of all people; their pictures lie in the folder ``images`` beside them.
        leave_out_modulo: Leave out pictures whose id is divisible by it: held out for evaluation. 0 leaves out none.

    Raises:
        FormatError: A file is not of that form.
    """
    places = []
    for path in label_files:
        truth = read_ground_truth(path)
        rows = truth.rows_by_image()
        for image in truth.images:
            if leave_out_modulo and image.image_id % leave_out_modulo == 0:
                continue
            part = _largest_free_part(truth.boxes[rows[image.image_id]], image.width_px, image.height_px)
            if min(part[2] - part[0], part[3] - part[1]) >= _MIN_SIDE_PX:
                places.append((path.parent / "images" / image.file_name, part))
    return Photographs(tuple(places))


def _largest_free_part(boxes: FloatArray, width: int, height: int) -> tuple[int, int, int, int]:
    """The largest of the strips beside, above and below all boxes."""
    if not len(boxes):
        return 0, 0, width, height
    left, top = (int(v) for v in np.floor(boxes[:, :2].min(axis=0)) - 2)
    right, bottom = (int(v) for v in np.ceil(boxes[:, 2:].max(axis=0)) + 3)
    strips = [(0, 0, left, height), (right, 0, width, height), (0, 0, width, top), (0, bottom, width, height)]
    return max(strips, key=lambda s: min(s[2] - s[0], s[3] - s[1]))
