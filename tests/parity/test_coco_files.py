"""The files posecli writes are read, and judged, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.formats.coco import write_coco_dataset
from posecli.formats.coco_results import write_coco_results
from posecli.formats.ground_truth import read_ground_truth
from posecli.records import Annotation, FrameTable, PoseSequence, VideoInfo


@pytest.fixture
def annotation() -> Annotation:
    """Three people over ten frames."""
    rng = np.random.default_rng(0)
    video = VideoInfo(
        *(Path("walk.mp4"), 640, 480, Fraction(25), 10, 0.4, 0, Fraction(1, 12800)),
        *("h264", "yuv420p", "bt709", False, False),
    )
    poses = []
    for track_id in range(3):
        corner = np.array([[100.0 * track_id, 50.0]])
        boxes = np.tile(np.concatenate([corner, corner + np.array([80, 200])], axis=1), (10, 1)).astype(np.float32)
        keypoints = (corner[:, None] + rng.uniform(0, 80, (10, 19, 2))).astype(np.float32)
        scores = rng.uniform(0.3, 1, (10, 19)).astype(np.float32)
        keypoints[3, 4:8], scores[3, 4:8] = np.nan, 0
        ones = np.ones(10, np.float32)
        poses.append(
            PoseSequence(
                track_id, "posecli19", np.arange(10), keypoints, keypoints, scores, boxes, ones, np.zeros(10, np.bool_)
            )
        )
    frames = FrameTable(np.arange(10), np.arange(10) / 25, np.zeros(10, np.bool_))
    return Annotation(video, frames, tuple(poses))


@pytest.mark.parametrize("skeleton", ["coco17", "posecli19"])
def test_the_data_set_is_read(annotation: Annotation, tmp_path: Path, skeleton) -> None:
    path = tmp_path / "dataset.json"
    write_coco_dataset(annotation, path, skeleton=skeleton)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    assert len(coco.getImgIds()) == 10
    assert len(coco.getAnnIds(imgIds=[4])) == 3
    assert coco.loadCats(coco.getCatIds())[0]["name"] == "person"


def test_the_data_set_is_labels_to_ourselves(annotation: Annotation, tmp_path: Path) -> None:
    write_coco_dataset(annotation, tmp_path / "dataset.json")
    truth = read_ground_truth(tmp_path / "dataset.json")
    assert len(truth) == 30
    assert len(truth.images) == 10


def test_results_against_their_own_data_set_are_perfect(annotation: Annotation, tmp_path: Path) -> None:
    write_coco_dataset(annotation, tmp_path / "dataset.json")
    write_coco_results(annotation, tmp_path / "results.json")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "dataset.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "results.json")), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    assert evaluation.stats[5] == pytest.approx(1.0)
