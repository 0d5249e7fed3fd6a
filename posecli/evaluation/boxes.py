"""How well people are found: box AP as COCO defines it, and recall by the height of the person."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from posecli.evaluation.average_precision import ImageMatches, average_precision, match_image
from posecli.evaluation.overlap import covered_fraction, overlap
from posecli.evaluation.pictures import read_picture
from posecli.formats.ground_truth import GroundTruth
from posecli.records import BoolArray, Detections, FloatArray, Frame

MAX_BOXES_PER_IMAGE = 100
HEIGHT_EDGES_PX: tuple[float, ...] = (0.0, 32.0, 64.0, 128.0, 256.0, float("inf"))
HEIGHT_EDGES_OF_FRAME: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, float("inf"))
TALL_OF_FRAME = 1 / 3
OPERATING_SCORES: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)


class PersonDetector(Protocol):
    """What is judged here; every detector of `posecli.people` is one."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people in each frame."""
        ...


@dataclass(frozen=True, slots=True)
class HeightRecall:
    """Recall at IoU 0.5 of people between two heights (px, or parts of the frame's), in per cent; ``None`` when there are none."""

    min_height: float
    max_height: float
    num_persons: int
    recall: float | None

    @property
    def name(self) -> str:
        """``32-64``, ``256+``."""
        return f"{self.min_height:g}{'+' if np.isinf(self.max_height) else f'-{self.max_height:g}'}"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a detector finds at IoU 0.5 when boxes below ``min_score`` are dropped, per cent.

    ``precision`` is ``None`` when nothing is left; ``tall_recall`` counts people taller than a third of their frame.
    """

    min_score: float
    precision: float | None
    recall: float | None
    tall_recall: float | None

    def to_json(self) -> dict[str, float | None]:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DetectorReport:
    """Box metrics in per cent; ``None`` without ground truth. Recalls count all detections, however unsure."""

    ap: float | None
    ap50: float | None
    recall50: float | None
    recall_by_height: tuple[HeightRecall, ...]
    recall_by_height_of_frame: tuple[HeightRecall, ...]
    tall: HeightRecall
    operating_points: tuple[OperatingPoint, ...]
    num_images: int
    num_persons: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "boxes": {"ap": self.ap, "ap50": self.ap50, "recall50": self.recall50},
            "recall50_by_height_px": _by_name(self.recall_by_height),
            "recall50_by_height_of_frame": _by_name(self.recall_by_height_of_frame),
            "recall50_taller_than_third": {"recall": self.tall.recall, "num_persons": self.tall.num_persons},
            "operating_points": [point.to_json() for point in self.operating_points],
            "num_images": self.num_images,
            "num_persons": self.num_persons,
        }

    def rows(self) -> list[tuple[str, float | None]]:
        """Name and per cent, for a table."""
        overall = [("AP", self.ap), ("AP50", self.ap50), ("recall at IoU 0.5", self.recall50)]
        tall = (f"recall, taller than a third of the frame ({self.tall.num_persons})", self.tall.recall)
        of_frame = [
            (f"recall, {p.name} of the frame's height ({p.num_persons})", p.recall)
            for p in self.recall_by_height_of_frame
        ]
        parts = [(f"recall, {p.name} px high ({p.num_persons})", p.recall) for p in self.recall_by_height]
        return [*overall, tall, *of_frame, *parts]


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
    # (N,): the score each person was found with, at IoU 0.5
    found_with = np.full(len(ground_truth), -np.inf)
    matches = []
    for image_id in sorted(truths):
        rows = truths[image_id]
        detections = found.get(image_id, Detections.empty(0))
        matches.append(_match(detections, ground_truth.boxes[rows], ground_truth.is_crowd[rows]))
        found_with[rows] = _found_with(matches[-1])
    table, is_person = average_precision(matches), ~ground_truth.is_crowd
    found_with = found_with[is_person]
    heights = (ground_truth.boxes[:, 3] - ground_truth.boxes[:, 1])[is_person].astype(np.float64)
    parts = heights / _frame_heights(ground_truth)[is_person]
    is_found = np.isfinite(found_with)
    return DetectorReport(
        ap=table.mean_ap(),
        ap50=table.ap_at(0.5),
        recall50=_recall(is_found),
        recall_by_height=tuple(_recall_by_height(is_found, heights, HEIGHT_EDGES_PX)),
        recall_by_height_of_frame=tuple(_recall_by_height(is_found, parts, HEIGHT_EDGES_OF_FRAME)),
        tall=next(_recall_by_height(is_found, parts, (TALL_OF_FRAME, float("inf")))),
        operating_points=tuple(_operating_points(matches, found_with, parts >= TALL_OF_FRAME)),
        num_images=len(truths),
        num_persons=int(is_person.sum()),
    )


def _match(detections: Detections, boxes: FloatArray, is_crowd: BoolArray) -> ImageMatches:
    best = np.argsort(-detections.scores.astype(np.float64), kind="stable")[:MAX_BOXES_PER_IMAGE]
    candidates = detections.boxes[best]
    similarity = np.where(is_crowd, covered_fraction(candidates, boxes), overlap(candidates, boxes))
    return match_image(similarity, detections.scores[best], is_crowd, is_crowd)


def _found_with(matches: ImageMatches) -> NDArray[np.float64]:
    """(G,): the score of the detection that found each ground truth at IoU 0.5; -inf where none did."""
    scores = np.full(matches.is_found.shape[1], -np.inf)
    is_found = matches.matched_truths[0] >= 0
    # a crowd may be found often; the first is the surest
    scores[matches.matched_truths[0][is_found][::-1]] = matches.scores[is_found][::-1]
    return scores


def _frame_heights(ground_truth: GroundTruth) -> NDArray[np.float64]:
    """(N,) px: of the picture each person is in."""
    heights = {image.image_id: image.height_px for image in ground_truth.images}
    return np.array([heights[image_id] for image_id in ground_truth.image_ids.tolist()], np.float64)


def _recall_by_height(
    is_found: BoolArray, heights: NDArray[np.float64], edges: Sequence[float]
) -> Iterator[HeightRecall]:
    for low, high in pairwise(edges):
        inside = (heights >= low) & (heights < high)
        yield HeightRecall(low, high, int(inside.sum()), _recall(is_found[inside]))


def _operating_points(
    matches: Sequence[ImageMatches], found_with: NDArray[np.float64], is_tall: BoolArray
) -> Iterator[OperatingPoint]:
    """Matching goes by score: without the unsure detections the others match as before."""
    scores = np.concatenate([np.zeros(0), *(image.scores for image in matches)])
    is_right = np.concatenate([np.zeros(0, np.bool_), *(image.is_matched[0] for image in matches)])
    is_counted = ~np.concatenate([np.zeros(0, np.bool_), *(image.is_ignored[0] for image in matches)])
    for score in OPERATING_SCORES:
        is_found, kept = found_with >= score, is_right[is_counted & (scores >= score)]
        yield OperatingPoint(score, _recall(kept), _recall(is_found), _recall(is_found[is_tall]))


def _recall(is_found: BoolArray) -> float | None:
    return float(100.0 * is_found.mean()) if len(is_found) else None


def _by_name(parts: Sequence[HeightRecall]) -> dict[str, dict[str, float | None]]:
    return {part.name: {"recall": part.recall, "num_persons": part.num_persons} for part in parts}
