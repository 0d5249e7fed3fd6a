from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError, VideoError
from posecli.evaluation.boxes import evaluate_detector, score_detections
from posecli.evaluation.keypoints import BATCH_PERSONS, evaluate_keypoints
from posecli.records import Detections, Frame


def image_id_of(picture: np.ndarray) -> int:
    """The colour says which picture this is: red is 40 times its id."""
    assert picture.dtype == np.uint8
    return int(picture[0, 0, 0]) // 40


class ColourEstimator:
    """Knows the labels by the colour of the picture, moved by ``offset_px`` to the right."""

    def __init__(self, offset_px: float = 0.0) -> None:
        self.offset_px = offset_px
        self.batches: list[int] = []
        self.boxes: list[list[float]] = []

    def estimate_images(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]):
        self.batches.append(len(images))
        self.boxes.extend(box.tolist() for box in boxes)
        ids = [image_id_of(image) for image in images]
        steps = np.arange(19)
        points = np.array([np.stack([10 + steps + i + self.offset_px, 5 + 2 * steps], axis=1) for i in ids])
        return points.astype(np.float32), np.full((len(ids), 19), 0.9, np.float32)


class ScriptedDetector:
    """Finds what it is told, by picture."""

    def __init__(self, boxes: dict[int, list[list[float]]]) -> None:
        self.boxes = boxes

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        found = []
        for frame in frames:
            boxes = np.array(self.boxes.get(image_id_of(frame.image), []), np.float32).reshape(-1, 4)
            found.append(Detections(frame.index, boxes, np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)))
        return found


def test_an_estimator_that_knows_scores_everything(labelled, tmp_path: Path) -> None:
    estimator, calls = ColourEstimator(), []
    report = evaluate_keypoints(estimator, labelled, tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert (report.num_images, report.num_persons, report.num_found) == (2, 2, 2)
    assert estimator.batches == [2]
    assert estimator.boxes == [[10, 5, 30, 41], [10, 5, 30, 41]]
    assert calls == [(2, 2)]
    document = orjson.loads(orjson.dumps(report.to_json()))
    assert document["boxes"] == "given"
    assert document["oks"] == {"ap": 100.0, "ap50": 100.0, "ap75": 100.0, "ar": 100.0}
    for name in ("pck_torso_0.2", "pck_box_0.05", "pck_box_0.1"):
        assert document[name]["limb"] == document[name]["all"] == document[name]["per_keypoint"]["neck"] == 100.0
    assert report.rows()[0] == ("pck_torso_0.2, limb points", 100.0)
    assert ("OKS AR", 100.0) in report.rows()
    assert report.rows()[-1][0].startswith("right (PCK@0.1 box) at score 0.9 to 1.0")
    assert report.rows()[-1][1] == 100.0
    assert len(document["reliability"]) == 10


def test_an_estimator_that_is_off_misses(labelled, tmp_path: Path) -> None:
    report = evaluate_keypoints(ColourEstimator(offset_px=3.0), labelled, tmp_path)
    assert report.pck["pck_box_0.1"]["all"] == 100.0
    assert report.pck["pck_box_0.05"]["all"] == 0.0


def test_detected_boxes_are_matched_and_missed_people_count_as_missed(labelled, tmp_path: Path) -> None:
    detector = ScriptedDetector({1: [[40, 20, 60, 40], [11, 6, 31, 42]]})
    estimator = ColourEstimator()
    report = evaluate_keypoints(estimator, labelled, tmp_path, boxes="detected", detector=detector)
    assert estimator.boxes == [[40, 20, 60, 40], [11, 6, 31, 42]]
    assert (report.num_persons, report.num_found) == (2, 1)
    assert report.pck["pck_box_0.1"]["all"] == 50.0
    assert report.oks["ar"] == 50.0


def test_a_detector_that_finds_nobody_is_judged_too(labelled, tmp_path: Path) -> None:
    report = evaluate_keypoints(ColourEstimator(), labelled, tmp_path, boxes="detected", detector=ScriptedDetector({}))
    assert report.num_found == 0
    assert report.pck["pck_torso_0.2"]["limb"] == 0.0
    assert report.oks == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0, "ar": 0.0}


def test_people_come_in_batches(labelled, tmp_path: Path) -> None:
    repeats = 20
    many = replace(
        labelled,
        **{
            name: np.concatenate([getattr(labelled, name)[:1]] * repeats)
            for name in ("annotation_ids", "image_ids", "keypoints", "boxes", "areas", "is_crowd")
        },
    )
    estimator = ColourEstimator()
    assert evaluate_keypoints(estimator, many, tmp_path).num_persons == repeats
    assert estimator.batches == [BATCH_PERSONS, repeats - BATCH_PERSONS]


def test_what_cannot_be_judged_is_said(labelled, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="need a detector"):
        evaluate_keypoints(ColourEstimator(), labelled, tmp_path, boxes="detected")
    nobody = replace(labelled, keypoints=np.zeros_like(labelled.keypoints))
    with pytest.raises(
        FormatError, match=r"labels.json: no labelled keypoints \(boxes alone can only judge a detector\)"
    ):
        evaluate_keypoints(ColourEstimator(), nobody, tmp_path)
    with pytest.raises(VideoError, match=r"1.png: cannot be read: No such file"):
        evaluate_keypoints(ColourEstimator(), labelled, tmp_path / "nowhere")
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(VideoError, match=r"1.png: not a picture"):
        evaluate_keypoints(ColourEstimator(), labelled, tmp_path)
    (tmp_path / "3.png").rename(tmp_path / "1.png")
    smaller = replace(labelled, images=tuple(replace(image, width_px=63) for image in labelled.images))
    with pytest.raises(FormatError, match=r"1.png: 64x48 px, its labels say 63x48"):
        evaluate_keypoints(ColourEstimator(), smaller, tmp_path)


def test_a_detector_is_judged_by_ap_and_by_height(labelled, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    detector = ScriptedDetector({1: [[10, 5, 30, 41]], 2: [[41, 0, 60, 40]], 3: [[0, 0, 9, 9]]})
    report = evaluate_detector(detector, labelled, tmp_path, progress=lambda done, total: calls.append((done, total)))
    # One of two found; the box in the crowd region counts neither way; the box where nobody is ties with the right one.
    assert report.recall50 == 50.0
    assert report.ap50 == pytest.approx(100 * 51 / 101)
    assert calls == [(1, 3), (2, 3), (3, 3)]
    document = orjson.loads(orjson.dumps(report.to_json()))
    assert document["recall50_by_height_px"]["32-64"] == {"recall": 50.0, "num_persons": 2}
    assert document["recall50_by_height_px"]["256+"] == {"recall": None, "num_persons": 0}
    assert document["num_persons"] == 2
    assert report.rows()[2] == ("recall at IoU 0.5", 50.0)
    assert ("recall, 32-64 px high (2)", 50.0) in report.rows()
    # both people are 36 of 48 px high
    assert document["recall50_by_height_of_frame"]["0.75+"] == {"recall": 50.0, "num_persons": 2}
    assert document["recall50_taller_than_third"] == {"recall": 50.0, "num_persons": 2}
    assert ("recall, taller than a third of the frame (2)", 50.0) in report.rows()


def test_without_the_unsure_a_detector_is_more_precise_and_finds_less(labelled, tmp_path: Path) -> None:
    # the surest box is nobody's, the others are the people's, the last one lies in the crowd
    boxes: dict[int, list[list[float]]] = {1: [[0, 0, 9, 9], [10, 5, 30, 41]], 2: [[10, 5, 30, 41], [41, 0, 60, 40]]}
    report = evaluate_detector(ScriptedDetector(boxes), labelled, tmp_path)
    points = {point.min_score: point for point in report.operating_points}
    assert points[0.05].to_json() == {
        "min_score": 0.05,
        "precision": pytest.approx(200 / 3),
        "recall": 100.0,
        "tall_recall": 100.0,
    }
    assert (points[0.6].precision, points[0.6].recall, points[0.6].tall_recall) == (50.0, 50.0, 50.0)
    small = replace(labelled, images=tuple(replace(image, height_px=400) for image in labelled.images))
    tall = score_detections({}, small)
    assert tall.operating_points[-1].to_json() == {
        "min_score": 0.7,
        "precision": None,
        "recall": 0.0,
        "tall_recall": None,
    }
    assert tall.tall.num_persons == 0
