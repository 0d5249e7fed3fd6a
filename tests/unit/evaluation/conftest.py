from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from posecli.formats.ground_truth import GroundTruth, read_ground_truth
from posecli.skeletons import POSECLI19

WIDTH, HEIGHT = 64, 48


def colour_of(image_id: int) -> tuple[int, int, int]:
    """Tells a picture from another; R, G, B."""
    return (40 * image_id, 10, 200 - 40 * image_id)


def keypoints_of(image_id: int) -> np.ndarray:
    """(19, 2): where the person of a picture is."""
    return np.stack([10 + np.arange(19) + image_id, 5 + 2 * np.arange(19)], axis=1).astype(np.float32)


@pytest.fixture
def labelled(tmp_path: Path) -> GroundTruth:
    """Three pictures of one colour each; one person in the first two, a crowd in the second, nobody in the third."""
    images, annotations = [], []
    for image_id in (1, 2, 3):
        picture = np.full((HEIGHT, WIDTH, 3), colour_of(image_id)[::-1], np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{image_id}.png"), picture)
        images.append({"id": image_id, "file_name": f"{image_id}.png", "width": WIDTH, "height": HEIGHT})
        if image_id < 3:
            points = keypoints_of(image_id).tolist()
            annotations.append(
                {
                    "id": image_id,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [10, 5, 20, 36],
                    "keypoints": [value for x, y in points for value in (x, y, 2)],
                }
            )
    annotations.append({"id": 9, "image_id": 2, "category_id": 1, "bbox": [40, 0, 20, 40], "iscrowd": 1})
    categories = [{"id": 1, "name": "person", "keypoints": list(POSECLI19.keypoint_names)}]
    path = tmp_path / "labels.json"
    path.write_bytes(orjson.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return read_ground_truth(path)
