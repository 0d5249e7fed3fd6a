"""AP and AR equal pycocotools, on random labels and detections with crowds, ignored people, ties and crowded pictures."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.evaluation.boxes import score_detections
from posecli.evaluation.clip_keypoints import judge_clips
from posecli.evaluation.clips import clip_of
from posecli.evaluation.oks import PredictedPoses, keypoint_average_precision, object_keypoint_similarity
from posecli.evaluation.video_labels import read_video_labels
from posecli.formats.ground_truth import GroundTruth, read_ground_truth
from posecli.records import Annotation, Detections, FrameTable, PoseSequence
from posecli.skeletons import COCO17, POSECLI19
from posecli.video.source import probe

NUM_IMAGES = 25


def random_labels(rng: np.random.Generator, names: tuple[str, ...]) -> dict:
    """Quarter-pixel numbers, exact in float32."""
    annotations: list[dict] = []
    for image_id in range(1, NUM_IMAGES + 1):
        for _ in range(rng.integers(0, 6)):
            left, top, width, height = (rng.integers(40, 1600, 4) / 4).tolist()
            points = np.zeros((len(names), 3))
            points[:, 0] = left + rng.integers(0, int(width * 4), len(names)) / 4
            points[:, 1] = top + rng.integers(0, int(height * 4), len(names)) / 4
            points[:, 2] = rng.integers(0, 3, len(names)) * (rng.random() > 0.15)
            points[points[:, 2] == 0] = 0
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [left, top, width, height],
                    "area": round(width * height * 0.6 * 4) / 4,
                    "iscrowd": int(rng.random() < 0.12),
                    "num_keypoints": int((points[:, 2] > 0).sum()),
                    "keypoints": points.ravel().tolist(),
                }
            )
    images = [{"id": i, "file_name": f"{i}.png", "width": 900, "height": 900} for i in range(1, NUM_IMAGES + 1)]
    categories = [{"id": 1, "name": "person", "keypoints": list(names), "skeleton": []}]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def random_detections(rng: np.random.Generator, labels: dict, num_stray: int) -> list[dict]:
    """Most near a label, some of them twice, some nowhere; scores with ties."""
    rows = []
    num_points = len(labels["categories"][0]["keypoints"])
    for label in labels["annotations"]:
        for _ in range(rng.integers(0, 3)):
            spread = rng.choice([1.0, 6.0, 25.0])
            points = np.array(label["keypoints"]).reshape(-1, 3)[:, :2]
            points = points + rng.normal(0, spread, (num_points, 2)).round(2)
            bbox = (np.array(label["bbox"]) + rng.normal(0, spread, 4).round(2)).clip(1)
            rows.append(row(rng, label["image_id"], bbox, points))
    for image_id in range(1, NUM_IMAGES + 1):
        for _ in range(rng.integers(0, num_stray + 1)):
            rows.append(row(rng, image_id, rng.integers(1, 400, 4), rng.integers(0, 800, (num_points, 2))))
    return rows


def row(rng: np.random.Generator, image_id: int, bbox: np.ndarray, points: np.ndarray) -> dict:
    """Float32 numbers, as posecli holds them."""
    triples = np.concatenate([points.astype(np.float32), np.ones((len(points), 1))], axis=1)
    return {
        "image_id": image_id,
        "category_id": 1,
        "score": float(np.float32(rng.integers(1, 40) / 40)),
        "bbox": bbox.astype(np.float32).astype(float).tolist(),
        "keypoints": triples.ravel().tolist(),
    }


def referee(labels: dict, rows: list[dict], kind: str, sigmas: np.ndarray) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = labels
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), kind)
        if kind == "keypoints":
            evaluation.params.kpt_oks_sigmas = sigmas
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize() if len(sigmas) == 17 else None
    return evaluation


def mean_precision(evaluation: COCOeval) -> float:
    values = evaluation.eval["precision"][:, :, 0, 0, -1]
    return float(100 * values[values > -1].mean())


def saved(path: Path, labels: dict) -> GroundTruth:
    path.write_bytes(orjson.dumps(labels))
    return read_ground_truth(path)


def as_predictions(rows: list[dict], num_points: int) -> PredictedPoses:
    points = np.full((len(rows), 19, 2), np.nan, np.float32)
    points[:, :num_points] = np.array([r["keypoints"] for r in rows]).reshape(len(rows), num_points, 3)[..., :2]
    return PredictedPoses(
        np.array([r["image_id"] for r in rows]), points, np.array([r["score"] for r in rows], np.float32)
    )


@pytest.mark.parametrize(("seed", "num_stray"), [(0, 0), (1, 4), (2, 30)])
def test_keypoint_ap_and_ar_equal_the_referee(tmp_path: Path, seed: int, num_stray: int) -> None:
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, COCO17.keypoint_names)
    rows = random_detections(rng, labels, num_stray)
    evaluation = referee(labels, rows, "keypoints", COCO17.sigma_array.astype(float))
    ours = keypoint_average_precision(as_predictions(rows, 17), saved(tmp_path / "labels.json", labels))
    stats = 100 * evaluation.stats
    assert 0.5 < stats[0] < 99
    assert [ours["ap"], ours["ap50"], ours["ap75"], ours["ar"]] == pytest.approx(stats[[0, 1, 2, 5]].tolist(), abs=1e-4)


@pytest.mark.parametrize("seed", [3, 4])
def test_nineteen_points_with_their_own_constants_equal_the_referee(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, POSECLI19.keypoint_names)
    rows = random_detections(rng, labels, 3)
    sigmas = rng.uniform(0.02, 0.12, 19).astype(np.float32)
    evaluation = referee(labels, rows, "keypoints", sigmas.astype(float))
    truth = saved(tmp_path / "labels.json", labels)
    ours = keypoint_average_precision(as_predictions(rows, 19), truth, sigmas=sigmas)
    assert ours["ap"] == pytest.approx(mean_precision(evaluation), abs=1e-4)
    assert ours["ap"] != keypoint_average_precision(as_predictions(rows, 19), truth)["ap"]


def test_oks_itself_equals_the_referee(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    labels = random_labels(rng, COCO17.keypoint_names)
    rows = random_detections(rng, labels, 2)
    evaluation = referee(labels, rows, "keypoints", COCO17.sigma_array.astype(float))
    truth, predictions = saved(tmp_path / "labels.json", labels), as_predictions(rows, 17)
    compared = 0
    for image_id, members in truth.rows_by_image().items():
        expected = np.asarray(evaluation.ious[image_id, 1])
        found = np.flatnonzero(predictions.image_ids == image_id)
        found = found[np.argsort(-predictions.scores[found], kind="stable")][:20]
        if expected.size:
            ours = object_keypoint_similarity(
                predictions.keypoints[found][:, :17],
                truth.keypoints[members][:, :17],
                truth.areas[members],
                truth.boxes[members],
                COCO17.sigma_array,
            )
            np.testing.assert_allclose(ours, expected, atol=2e-6)
            compared += expected.size
    assert compared > 100
    assert not truth.has_keypoints.all()


@pytest.mark.parametrize(("seed", "num_stray"), [(6, 0), (7, 5), (8, 130)])
def test_box_ap_equals_the_referee(tmp_path: Path, seed: int, num_stray: int) -> None:
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, COCO17.keypoint_names)
    rows = random_detections(rng, labels, num_stray)
    evaluation = referee(labels, [{k: v for k, v in r.items() if k != "keypoints"} for r in rows], "bbox", np.zeros(17))
    found = {}
    for image_id in range(1, NUM_IMAGES + 1):
        members = [r for r in rows if r["image_id"] == image_id]
        xywh = np.array([r["bbox"] for r in members], np.float64).reshape(-1, 4)
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
        found[image_id] = Detections(image_id, boxes, np.array([r["score"] for r in members], np.float32))
    report = score_detections(found, saved(tmp_path / "labels.json", labels))
    stats = 100 * evaluation.stats
    assert 0.5 < stats[0] < 99
    assert [report.ap, report.ap50] == pytest.approx(stats[[0, 1]].tolist(), abs=1e-4)
    recall = evaluation.eval["recall"][0, 0, 0, -1]
    assert report.recall50 == pytest.approx(100 * recall, abs=1e-6)
    parts = report.recall_by_height
    assert sum(part.num_persons for part in parts) == report.num_persons
    pooled = sum(part.num_persons * part.recall for part in parts if part.recall is not None)
    assert pooled / report.num_persons == pytest.approx(report.recall50)


def video_pose(rng: np.random.Generator, labels: dict, track_id: int, spread: float) -> PoseSequence:
    """A track near a labelled one that begins late and has gaps; quarter pixels, exact in float32."""
    rows = [r for r in labels["annotations"] if r["track_id"] == track_id and r["image_id"] % 7 and r["image_id"] > 4]
    points = np.array([r["keypoints"] for r in rows]).reshape(-1, 17, 3)[..., :2]
    points = (np.round((points + rng.normal(0, spread, points.shape)) * 4) / 4).astype(np.float32)
    points[rng.random(points.shape[:2]) < 0.02] = np.nan
    return PoseSequence(
        track_id=10 * track_id,
        skeleton="coco17",
        frame_indices=np.array([r["image_id"] for r in rows]),
        keypoints=points,
        raw_keypoints=points,
        scores=np.where(np.isnan(points[..., 0]), 0, rng.uniform(0.1, 1, points.shape[:2])).astype(np.float32),
        boxes=np.concatenate([np.nanmin(points, axis=1), np.nanmax(points, axis=1)], axis=1),
        box_scores=rng.uniform(0.2, 1, len(rows)).astype(np.float32),
        interpolated=np.zeros(len(rows), np.bool_),
    )


def test_poses_of_a_video_equal_the_referee(repository: Path) -> None:
    """The labels of the example clip, hidden points and all; tracks with gaps, one of them nobody's."""
    path = repository / "examples" / "rendered_people.json"
    labels = orjson.loads(path.read_bytes())
    rng = np.random.default_rng(10)
    poses = [video_pose(rng, labels, track_id, spread) for track_id, spread in ((1, 1.0), (2, 4.0), (3, 9.0))]
    poses.append(replace(poses[0], track_id=99, keypoints=poses[0].keypoints + 40, boxes=poses[0].boxes + 40))
    frames = FrameTable(np.arange(150), np.arange(150) / 30, np.zeros(150, np.bool_))
    annotation = Annotation(probe(path.with_suffix(".mp4")), frames, tuple(poses))
    clip, _ = clip_of(annotation, read_video_labels(path))
    ours = judge_clips([clip], boxes="predicted").report.oks
    rows = [
        {"image_id": int(i), "category_id": 1, "score": float(score), "keypoints": as_triples(points)}
        for i, score, points in zip(clip.people.image_ids, clip.people.poses.scores, clip.people.keypoints, strict=True)
    ]
    stats = 100 * referee(labels, rows, "keypoints", COCO17.sigma_array.astype(float)).stats
    assert 10 < stats[0] < 90
    assert [ours["ap"], ours["ap50"], ours["ap75"], ours["ar"]] == pytest.approx(stats[[0, 1, 2, 5]].tolist(), abs=1e-4)


def as_triples(points: np.ndarray) -> list[float]:
    """A missing point, to the referee, is far away; but not so far that the pose leaves its largest range of areas."""
    seventeen = np.nan_to_num(points[:17].astype(float), nan=2e4)
    return np.concatenate([seventeen, np.ones((17, 1))], axis=1).ravel().tolist()


def test_nothing_found_and_nothing_to_find(tmp_path: Path) -> None:
    labels = random_labels(np.random.default_rng(9), COCO17.keypoint_names)
    nobody = PredictedPoses(np.zeros(0, np.int64), np.zeros((0, 19, 2), np.float32), np.zeros(0, np.float32))
    truth = saved(tmp_path / "labels.json", labels)
    assert keypoint_average_precision(nobody, truth) == {"ap": 0.0, "ap50": 0.0, "ap75": 0.0, "ar": 0.0}
    assert score_detections({}, truth).ap == 0.0
    empty = saved(tmp_path / "empty.json", {**labels, "annotations": []})
    assert keypoint_average_precision(nobody, empty) == {"ap": None, "ap50": None, "ap75": None, "ar": None}
    assert score_detections({}, empty).ap50 is None
