"""A tiny labelled set of drawn people, written to disk as training reads it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from posecli.skeletons import POSECLI19

# where each point of the 19 lies in a standing figure, in box coordinates
FIGURE = np.array(
    [
        *(
            (0.5, 0.1),
            (0.55, 0.08),
            (0.45, 0.08),
            (0.6, 0.09),
            (0.4, 0.09),
            (0.7, 0.25),
            (0.3, 0.25),
            (0.8, 0.4),
            (0.2, 0.4),
        ),
        *(
            (0.85, 0.55),
            (0.15, 0.55),
            (0.62, 0.55),
            (0.38, 0.55),
            (0.64, 0.75),
            (0.36, 0.75),
            (0.66, 0.97),
            (0.34, 0.97),
        ),
        *((0.5, 0.2), (0.5, 0.02)),
    ]
)


def draw_person(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(160, 120, 3) picture, (4,) xywh box, (19, 2) points: limbs of fixed colours on noise."""
    image = rng.integers(90, 130, (160, 120, 3)).astype(np.uint8)
    box = np.array([20.0, 15.0, 80.0, 130.0]) + rng.uniform(-8, 8, 4)
    points = box[:2] + FIGURE * box[2:] + rng.normal(0, 2.0, (19, 2))
    for number, (a, b) in enumerate(POSECLI19.limbs):
        colour = (255, 40 * (number % 6), 30) if number % 2 else (20, 40 * (number % 6), 250)
        cv2.line(
            image,
            tuple(points[a].round().astype(int).tolist()),
            tuple(points[b].round().astype(int).tolist()),
            colour,
            4,
        )
    return image, box, points


@pytest.fixture
def drawn_set(tmp_path: Path) -> Path:
    """A data folder with ``set.json`` and ``images/`` of twelve drawn people."""
    write_drawn_set(tmp_path)
    return tmp_path


def write_drawn_set(folder: Path) -> None:
    """Write that folder's content."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    images, annotations = [], []
    for number in range(12):
        image, box, points = draw_person(rng)
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / "images" / name), image[..., ::-1])
        images.append({"id": number, "file_name": name, "width": 120, "height": 160})
        keypoints = np.concatenate([points, np.full((19, 1), 2)], axis=1).ravel().tolist()
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": box.tolist(),
                "keypoints": keypoints,
                "iscrowd": 0,
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(POSECLI19.keypoint_names)}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (folder / "set.json").write_bytes(orjson.dumps(content))
