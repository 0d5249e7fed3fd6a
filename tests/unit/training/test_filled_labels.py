"""Labels that a network fills in: only what is missing, only where it is sure, only of people whom it sees right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecli.errors import FormatError, OutputError
from posecli.formats.ground_truth import read_ground_truth
from posecli.records import FloatArray, ImageArray
from posecli.training.filled_labels import FILLED, fill_labels

SURE = np.linspace(0.1, 1.0, 19).astype(np.float32)


class Oracle:
    """Sees point k of everybody at (10 + k, 20 + k), the more surely the larger k is."""

    def estimate_images(
        self, images: Sequence[ImageArray], boxes: Sequence[FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        points = np.stack([10.0 + np.arange(19), 20.0 + np.arange(19)], axis=-1).astype(np.float32)
        return np.stack([points] * len(boxes)), np.stack([SURE] * len(boxes))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two people with shoulders labelled where the oracle sees them, or far from there; one with a box alone; one too small."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 100, 3), np.uint8))
    names = ["left_shoulder", "right_shoulder"]
    people = [([15, 25, 2, 16, 26, 2], 80), ([60, 90, 2, 16, 26, 2], 80), ([0] * 6, 80), ([0] * 6, 20)]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 100}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 1, "bbox": [0, 0, 50, height], "keypoints": points}
            for i, (points, height) in enumerate(people)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    return path


def test_what_is_missing_is_filled_in(labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "filled.json"
    told: list[tuple[int, int]] = []
    count = fill_labels(
        Oracle(),
        labels,
        tmp_path,
        out,
        min_score=0.5,
        min_height_px=50,
        progress=lambda done, total: told.append((done, total)),
    )
    assert count == (2, 4) and told == [(3, 3)]
    truth = read_ground_truth(out)
    right, wrong, boxed, small = truth.keypoints
    is_sure = SURE >= 0.5
    assert np.array_equal(right[5:7], [[15, 25, 2], [16, 26, 2]])
    for person in (right, boxed):
        filled = np.flatnonzero(person[:, 2] == FILLED)
        assert set(filled) == set(np.flatnonzero(is_sure)) - ({5, 6} if person is right else set())
        assert np.array_equal(person[filled, 0], 10.0 + filled) and np.array_equal(person[filled, 1], 20.0 + filled)
    assert np.flatnonzero(wrong[:, 2]).tolist() == [5, 6] and not small[:, 2].any()
    assert np.array_equal(truth.boxes, read_ground_truth(labels).boxes)


def test_nobody_tall_enough_and_files_that_exist_are_told(labels: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nobody of 500 px or more"):
        fill_labels(Oracle(), labels, tmp_path, tmp_path / "new.json", min_height_px=500)
    with pytest.raises(OutputError):
        fill_labels(Oracle(), labels, tmp_path, labels)
