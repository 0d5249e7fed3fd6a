"""How well people are found: box AP as COCO defines it, and recall by the height of the person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from posecli.evaluation.average_precision import ImageMatches, average_precision, match_image
from posecli.evaluation.pictures import read_picture
from posecli.formats.ground_truth import GroundTruth
from posecli.geometry import box_area, iou_matrix
from posecli.records import BoolArray, Detections, FloatArray, Frame

MAX_BOXES_PER_IMAGE = 100
HEIGHT_EDGES_PX: tuple[float, ...] = (0.0, 32.0, 64.0, 128.0, 256.0, float("inf"))


class PersonDetector(Protocol):
    """What is judged here; every detector of `posecli.people` is one."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people in each frame."""
        ...


@dataclass(frozen=True, slots=True)
class HeightRecall:
    """Recall at IoU 0.5 of people between two heights, in per cent; ``None`` when there are none."""

    min_height_px: float
    max_height_px: float
    num_persons: int
    recall: float | None


@dataclass(frozen=True, slots=True)
class DetectorReport:
    """Box metrics in per cent; ``None`` without ground truth."""

    ap: float | None
    ap50: float | None
    recall50: float | None
    recall_by_height: tuple[HeightRecall, ...]
    num_images: int
    num_persons: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "boxes": {"ap": self.ap, "ap50": self.ap50, "recall50": self.recall50},
            "recall50_by_height_px": {
                _range_name(part): {"recall": part.recall, "num_persons": part.num_persons}
                for part in self.recall_by_height
            },
            "num_images": self.num_images,
            "num_persons": self.num_persons,
        }

    def rows(self) -> list[tuple[str, float | None]]:
        """Name and per cent, for a table."""
        overall = [("AP", self.ap), ("AP50", self.ap50), ("recall at IoU 0.5", self.recall50)]
        parts = [(f"recall, {_range_name(p)} px high ({p.num_persons})", p.recall) for p in self.recall_by_height]
        return [*overall, *parts]


def evaluate_detector(
    detector: PersonDetector,
    ground_truth: GroundTruth,
    images_dir: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> DetectorReport:
    """Run a detector on labelled pictures, one by one, and judge it.

    Args:
        detector: The detector; a low score threshold gives AP its due.
        ground_truth: The labels.
        images_dir: Where the pictures lie.
        progress: Called with (pictures done, pictures in all).

    Raises:
        VideoError: A picture is missing or cannot be decoded.
    """
    return score_detections(detect_all(detector, ground_truth, images_dir, progress=progress), ground_truth)


def detect_all(
    detector: PersonDetector,
    ground_truth: GroundTruth,
    images_dir: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, Detections]:
    """Detections by image id; see `evaluate_detector`."""
    found = {}
    for index, image in enumerate(ground_truth.images):
        frame = Frame(index=index, pts=None, time_s=0.0, image=read_picture(images_dir, image))
        found[image.image_id] = detector.detect([frame])[0]
        if progress is not None:
            progress(index + 1, len(ground_truth.images))
    return found


def score_detections(found: Mapping[int, Detections], ground_truth: GroundTruth) -> DetectorReport:
    """Box metrics of detections by image id; images without an entry have none. At most 100 boxes an image."""
    truths = ground_truth.rows_by_image()
    heights = ground_truth.boxes[:, 3] - ground_truth.boxes[:, 1]
    is_found = np.zeros(len(ground_truth), np.bool_)
    matches = []
    for image_id in sorted(truths):
        rows = truths[image_id]
        detections = found.get(image_id, Detections.empty(0))
        matches.append(_match(detections, ground_truth.boxes[rows], ground_truth.is_crowd[rows]))
        is_found[rows] = matches[-1].is_found[0]
    table, is_person = average_precision(matches), ~ground_truth.is_crowd
    return DetectorReport(
        ap=table.mean_ap(),
        ap50=table.ap_at(0.5),
        recall50=_recall(is_found[is_person]),
        recall_by_height=tuple(_recall_by_height(is_found[is_person], heights[is_person])),
        num_images=len(truths),
        num_persons=int(is_person.sum()),
    )


def _match(detections: Detections, boxes: FloatArray, is_crowd: BoolArray) -> ImageMatches:
    best = np.argsort(-detections.scores.astype(np.float64), kind="stable")[:MAX_BOXES_PER_IMAGE]
    candidates = detections.boxes[best]
    similarity = np.where(is_crowd, _covered_fraction(candidates, boxes), iou_matrix(candidates, boxes))
    return match_image(similarity.astype(np.float64), detections.scores[best], is_crowd, is_crowd)


def _covered_fraction(boxes: FloatArray, regions: FloatArray) -> NDArray[np.float64]:
    """(D, 4) boxes and (G, 4) crowd regions -> (D, G), how much of each box lies in each region."""
    a, b = boxes[:, None].astype(np.float64), regions[None]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0, None)
    return np.asarray(sides.prod(axis=-1) / np.maximum(box_area(boxes)[:, None], np.spacing(1.0)), np.float64)


def _recall_by_height(is_found: BoolArray, heights: FloatArray) -> Iterator[HeightRecall]:
    for low, high in pairwise(HEIGHT_EDGES_PX):
        inside = (heights >= low) & (heights < high)
        yield HeightRecall(low, high, int(inside.sum()), _recall(is_found[inside]))


def _recall(is_found: BoolArray) -> float | None:
    return float(100.0 * is_found.mean()) if len(is_found) else None


def _range_name(part: HeightRecall) -> str:
    high = "" if np.isinf(part.max_height_px) else f"{part.max_height_px:g}"
    return f"{part.min_height_px:g}-{high}" if high else f"{part.min_height_px:g}+"
