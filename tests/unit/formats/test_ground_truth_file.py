from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError
from posecli.formats.ground_truth import read_ground_truth
from posecli.skeletons import COCO17, POSECLI19, POSETRACK18

DOCUMENT = {
    "images": [
        {"id": 5, "file_name": "a.webp", "width": 64, "height": 48},
        {"id": 2, "file_name": "b.webp", "width": 32, "height": 32},
    ],
    "categories": [
        {"id": 3, "name": "dog"},
        {"id": 1, "name": "person", "keypoints": list(COCO17.keypoint_names)},
    ],
    "annotations": [
        {
            "id": 10,
            "image_id": 5,
            "category_id": 1,
            "bbox": [1, 2, 10, 20],
            "area": 150,
            "keypoints": [4, 5, 2, 9, 9, 0] + [0] * 45,
        },
        {"id": 11, "image_id": 5, "category_id": 3, "bbox": [0, 0, 9, 9]},
        {"id": 12, "image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
    ],
}


def saved(path: Path, document: object) -> Path:
    path.write_bytes(orjson.dumps(document))
    return path


def test_people_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    truth = read_ground_truth(saved(tmp_path / "labels.json", DOCUMENT))
    assert len(truth) == 2
    assert truth.annotation_ids.tolist() == [10, 12]
    assert truth.keypoints.shape == (2, 19, 3)
    assert truth.keypoints[0, 0].tolist() == [4, 5, 2]
    assert truth.keypoints[0, 1].tolist() == [0, 0, 0]
    assert truth.boxes.tolist() == [[1, 2, 11, 22], [1, 2, 4, 6]]
    assert truth.areas.tolist() == [150, 12]
    assert truth.is_crowd.tolist() == [False, True]
    assert truth.has_keypoints.tolist() == [True, False]
    assert truth.labelled_points.tolist() == list(range(17))
    assert {key: rows.tolist() for key, rows in truth.rows_by_image().items()} == {5: [0, 1], 2: []}
    assert truth.images[0].file_name == "a.webp"


@pytest.mark.parametrize("skeleton", [POSECLI19, POSETRACK18])
def test_points_are_placed_by_name(tmp_path: Path, skeleton) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["categories"][1]["keypoints"] = list(skeleton.keypoint_names)
    values = [value for i in range(len(skeleton)) for value in (i + 1, i + 2, 2)]
    document["annotations"] = [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": values}]
    truth = read_ground_truth(saved(tmp_path / "labels.json", document))
    neck = next(skeleton.keypoint_names.index(n) for n in ("neck", "head_bottom") if n in skeleton.keypoint_names)
    assert truth.keypoints[0, POSECLI19.index("neck"), 0] == neck + 1
    assert truth.keypoints[0, POSECLI19.index("head_top"), 0] == skeleton.index("head_top") + 1
    assert int((truth.keypoints[0, :, 2] > 0).sum()) == len(skeleton)


def test_boxes_alone_will_do(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["categories"] = [{"id": 1, "name": "figure"}]
    document["annotations"] = [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9]}]
    truth = read_ground_truth(saved(tmp_path / "labels.json", document))
    assert len(truth.labelled_points) == 0
    assert not truth.has_keypoints.any()
    assert np.isfinite(truth.keypoints).all()


def test_an_empty_label_file_is_no_error(tmp_path: Path) -> None:
    truth = read_ground_truth(saved(tmp_path / "labels.json", {**DOCUMENT, "annotations": []}))
    assert len(truth) == 0
    assert {key: len(rows) for key, rows in truth.rows_by_image().items()} == {5: 0, 2: 0}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("categories", [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}], 'no category is named "person"'),
        ("categories", [{"id": 1, "name": "person", "keypoints": ["tail"]}], '"tail" is no keypoint of posecli'),
        ("categories", [{"id": 1, "name": "person", "keypoints": ["nose", "nose"]}], "a keypoint is named twice"),
        ("images", [DOCUMENT["images"][0]] * 2, "two images have the same id"),
        ("images", DOCUMENT["images"][1:], r"annotations\[0\].image_id: 5 is not the id of an image"),
        ("annotations", [{"image_id": 5, "category_id": 1}], r"annotations\[0\]: key 'bbox' is missing"),
        (
            "annotations",
            [{"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, -4, 5]}],
            r"annotations\[0\].bbox: width -4 and height 5 must not be negative",
        ),
        (
            "annotations",
            [{"id": 1, "image_id": 5, "category_id": 1, "bbox": [0, 0, 4, 5], "keypoints": [1, 2]}],
            r"annotations\[0\].keypoints: 2 numbers, 51 expected",
        ),
    ],
)
def test_a_wrong_file_is_named_with_key_and_value(tmp_path: Path, key: str, value: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_ground_truth(saved(tmp_path / "labels.json", {**DOCUMENT, key: value}))
