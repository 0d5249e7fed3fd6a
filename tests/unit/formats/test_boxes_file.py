from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError
from posecli.formats.boxes import read_boxes
from posecli.formats.coco import write_coco_dataset
from posecli.formats.coco_results import write_coco_results
from posecli.records import Annotation


def saved(path: Path, document: object) -> Path:
    path.write_bytes(orjson.dumps(document))
    return path


def test_own_schema(tmp_path: Path) -> None:
    frames = [
        {"frame_index": 4, "boxes": [[1, 2, 30, 40], [5, 6, 7, 8.5]], "scores": [0.9, 0.25]},
        {"frame_index": 0, "boxes": [[1, 2, 30, 40]]},
        {"frame_index": 9, "boxes": []},
    ]
    found = read_boxes(saved(tmp_path / "boxes.json", {"frames": frames}))
    assert list(found) == [0, 4]
    assert found[4].frame_index == 4
    np.testing.assert_array_equal(found[4].boxes, np.array([[1, 2, 30, 40], [5, 6, 7, 8.5]], np.float32))
    np.testing.assert_array_equal(found[4].scores, np.array([0.9, 0.25], np.float32))
    assert found[0].scores.tolist() == [1.0]


def test_coco_data_set_by_place_or_frame_index(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 70}, {"id": 3, "frame_index": 12}],
        "annotations": [
            {"image_id": 70, "bbox": [10, 20, 5, 6]},
            {"image_id": 3, "bbox": [1, 1, 2, 2], "score": 0.5},
            {"image_id": 3, "bbox": [0, 0, 90, 90], "iscrowd": 1},
        ],
    }
    found = read_boxes(saved(tmp_path / "boxes.json", document))
    assert found[0].boxes.tolist() == [[10, 20, 15, 26]]
    assert found[12].boxes.tolist() == [[1, 1, 3, 3]]
    assert found[12].scores.tolist() == [0.5]


def test_our_own_files_come_back_as_boxes(annotation: Annotation, tmp_path: Path) -> None:
    write_coco_dataset(annotation, tmp_path / "poses.json")
    write_coco_results(annotation, tmp_path / "results.json")
    for name in ("poses.json", "results.json"):
        found = read_boxes(tmp_path / name)
        assert list(found) == [30, 31, 32, 33, 35, 41]
        np.testing.assert_allclose(found[30].boxes, annotation.poses[0].boxes[:1], atol=2e-3)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"boxes": []}, "top level: neither 'frames' nor 'annotations' nor a bare list"),
        ({"frames": [{"boxes": []}]}, r"frames\[0\]: key 'frame_index' is missing"),
        ({"frames": [{"frame_index": -1, "boxes": [[0, 0, 1, 1]]}]}, r"frames\[0\]: frame index -1 is negative"),
        ({"frames": [{"frame_index": 0, "boxes": [[0, 0, 1]]}]}, r"frames\[0\].boxes\[0\]: 3 numbers, 4 expected"),
        ({"frames": [{"frame_index": 0, "boxes": [[5, 5, 1, 9]]}]}, r"frames\[0\].boxes\[0\]: box .* has no area"),
        ({"frames": [{"frame_index": 0, "boxes": [[0, 0, 1, 1]], "scores": [7]}]}, r"frames\[0\]: score 7 is not in"),
        (
            {"frames": [{"frame_index": 0, "boxes": [[0, 0, 1, 1]], "scores": []}]},
            r"frames\[0\].scores: 0 numbers, 1 expected",
        ),
        ([{"image_id": 0, "bbox": [0, 0, 1, 1]}], r"results\[0\]: frame index -1 is negative"),
        ({"images": [], "annotations": [{"image_id": 1}]}, r"annotations\[0\].image_id: 1 is not the id of an image"),
    ],
)
def test_a_wrong_file_is_named_with_key_and_value(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_boxes(saved(tmp_path / "boxes.json", document))
