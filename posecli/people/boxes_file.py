"""Boxes that the user brings: looked up by frame instead of detected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from posecli.geometry import clip_boxes
from posecli.records import Detections, Frame


class BoxesDetector:
    """Given boxes, cut to the frame.

    Args:
        boxes: Detections by frame index (`posecli.formats.boxes.read_boxes`); frames not in it have no people.
        min_score: Boxes with a lower score are dropped.
    """

    name = "boxes"

    def __init__(self, boxes: Mapping[int, Detections], *, min_score: float = 0.0) -> None:
        self.boxes, self.min_score = boxes, min_score

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The given people of each frame that are in the picture."""
        return [self._look_up(frame) for frame in frames]

    def _look_up(self, frame: Frame) -> Detections:
        given = self.boxes.get(frame.index)
        if given is None:
            return Detections.empty(frame.index)
        height, width = frame.image.shape[:2]
        boxes = clip_boxes(given.boxes, width, height)
        keep = (given.scores >= self.min_score) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        return Detections(frame.index, boxes[keep], given.scores[keep])
