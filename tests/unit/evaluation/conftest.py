from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import orjson
import pytest

from posecli.evaluation.video_labels import VideoLabels, read_video_labels
from posecli.formats.ground_truth import GroundTruth, read_ground_truth
from posecli.records import Annotation, FrameTable, PoseSequence, VideoInfo
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


NUM_FRAMES = 12


def walker(track_id: int, frame: int) -> np.ndarray:
    """(19, 2): two people who walk towards each other, one above the other."""
    x = 8.0 + 2.0 * frame if track_id == 1 else 44.0 - 2.0 * frame
    y = 3.0 if track_id == 1 else 25.0
    steps = np.arange(19)
    return np.stack([x + 0.5 * steps, y + steps], axis=1).astype(np.float32)


def walker_row(track_id: int, frame: int, annotation_id: int) -> dict[str, Any]:
    """Labels of a walker; the box is exactly around its points."""
    points = walker(track_id, frame)
    low, high = points.min(axis=0), points.max(axis=0)
    return {
        "id": annotation_id,
        "image_id": frame + 100,
        "category_id": 1,
        "track_id": track_id,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "keypoints": [value for x, y in points.tolist() for value in (x, y, 2)],
    }


def video_document(
    frames: Sequence[int] = range(NUM_FRAMES), is_there: Callable[[int, int], bool] = lambda track, frame: True
) -> dict[str, Any]:
    """Labels of the video `walk.mp4`: image ids from 100 on."""
    images = [
        {"id": f + 100, "file_name": f"frame_{f:06d}", "frame_index": f, "width": WIDTH, "height": HEIGHT}
        for f in frames
    ]
    pairs = [(track, f) for f in frames for track in (1, 2) if is_there(track, f)]
    annotations = [walker_row(track, f, i) for i, (track, f) in enumerate(pairs, start=1)]
    categories = [{"id": 1, "name": "person", "keypoints": list(POSECLI19.keypoint_names)}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def save_labels(tmp_path: Path) -> Callable[[dict[str, Any]], VideoLabels]:
    """Write labels and read them."""

    def save(document: dict[str, Any], name: str = "walk.json") -> VideoLabels:
        path = tmp_path / name
        path.write_bytes(orjson.dumps(document))
        return read_video_labels(path)

    return save


@pytest.fixture
def walk_labels(save_labels: Callable[[dict[str, Any]], VideoLabels]) -> VideoLabels:
    """Two people in twelve frames."""
    return save_labels(video_document())


@pytest.fixture
def walkers() -> Any:
    """The functions that know where people are, and the builder of label files."""
    return SimpleNamespace(points=walker, row=walker_row, document=video_document, num_frames=NUM_FRAMES)


@pytest.fixture
def walk_poses() -> Callable[..., Annotation]:
    """What `posecli annotate` would have written, if it were perfect; ``offset_px`` moves the points, ``raw_px`` the raw ones."""

    def build(
        frames: Sequence[int] = range(NUM_FRAMES),
        tracks: dict[int, int] | None = None,
        *,
        offset_px: float = 0.0,
        raw_px: float = 0.0,
    ) -> Annotation:
        video = VideoInfo(
            path=Path("walk.mp4"),
            width_px=WIDTH,
            height_px=HEIGHT,
            fps=Fraction(25),
            num_frames_from_header=None,
            duration_s=None,
            rotation_deg=0,
            time_base=Fraction(1, 25),
            codec="h264",
            pixel_format="yuv420p",
            colour="bt709",
            is_hdr=False,
            has_audio=False,
        )
        indices = np.array(frames, np.int64)
        poses = []
        for name, person in (tracks or {1: 1, 2: 2}).items():
            points = np.stack([walker(person, int(f)) for f in frames])
            boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
            poses.append(
                PoseSequence(
                    track_id=name,
                    skeleton="posecli19",
                    frame_indices=indices,
                    keypoints=points + np.float32(offset_px),
                    raw_keypoints=points + np.float32(raw_px),
                    scores=np.full(points.shape[:2], 0.8, np.float32),
                    boxes=boxes,
                    box_scores=np.full(len(points), 0.9, np.float32),
                    interpolated=np.zeros(len(points), np.bool_),
                )
            )
        table = FrameTable(indices, indices / 25.0, np.zeros(len(indices), np.bool_))
        return Annotation(video, table, tuple(poses), {}, int(indices[0]))

    return build
