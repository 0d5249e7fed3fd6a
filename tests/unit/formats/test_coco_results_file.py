from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from posecli.formats.coco import write_coco_dataset
from posecli.formats.coco_results import write_coco_results
from posecli.formats.rows import instance_scores
from posecli.records import Annotation


def test_results_are_a_bare_list_of_51_numbers(annotation: Annotation, tmp_path: Path) -> None:
    write_coco_results(annotation, tmp_path / "results.json")
    rows = orjson.loads((tmp_path / "results.json").read_bytes())
    assert isinstance(rows, list)
    assert len(rows) == 8
    assert all(len(row["keypoints"]) == 51 and isinstance(row["image_id"], int) for row in rows)
    np.testing.assert_allclose(rows[0]["keypoints"][2::3], annotation.poses[0].scores[0, :17], atol=1e-5)
    assert rows[0]["keypoints"][9:12] == [0, 0, 0]


def test_image_ids_are_those_of_the_data_set(annotation: Annotation, tmp_path: Path) -> None:
    write_coco_results(annotation, tmp_path / "results.json")
    write_coco_dataset(annotation, tmp_path / "dataset.json")
    rows = orjson.loads((tmp_path / "results.json").read_bytes())
    labelled = orjson.loads((tmp_path / "dataset.json").read_bytes())["annotations"]
    assert [row["image_id"] for row in rows] == [row["image_id"] for row in labelled]
    assert [row["keypoints"][:2] for row in rows] == [row["keypoints"][:2] for row in labelled]


def test_no_people_is_an_empty_list(annotation_of, tmp_path: Path) -> None:
    write_coco_results(annotation_of(), tmp_path / "results.json")
    assert orjson.loads((tmp_path / "results.json").read_bytes()) == []


def test_the_score_of_a_pose_is_its_box_times_its_sure_keypoints() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.0]], np.float32)
    assert instance_scores(scores, np.array([0.5, 0.9], np.float32)) == pytest.approx([0.35, 0.0])
