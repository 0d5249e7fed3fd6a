from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError
from posecli.formats.posetrack import read_posetrack, write_posetrack
from posecli.records import Annotation
from posecli.skeletons import POSECLI19, POSETRACK18, convert_keypoints

NAMES = (
    "nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()


def test_the_file_is_what_evaluators_want(annotation: Annotation, tmp_path: Path) -> None:
    path = tmp_path / "000342_mpii_test.json"
    write_posetrack(annotation, path)
    document = orjson.loads(path.read_bytes())
    assert document["images"][3] == {
        "file_name": "images/val/000342_mpii_test/000003.jpg",
        "id": 10003420003,
        "frame_id": 10003420003,
        "vid_id": "000342",
        "nframes": 12,
        "is_labeled": True,
        "has_no_densepose": True,
        "ignore_regions_x": [],
        "ignore_regions_y": [],
    }
    (category,) = document["categories"]
    assert category["name"] == "person"
    assert category["keypoints"] == NAMES
    assert category["skeleton"][:3] == [[16, 14], [14, 12], [17, 15]]
    second = document["annotations"][2]
    assert second["id"] == 10003420001 * 100 + 1
    assert second["track_id"] == 2
    assert len(second["keypoints"]) == 51
    assert len(second["scores"]) == 17


def test_neck_and_head_top_are_native_and_ears_absent(annotation: Annotation, tmp_path: Path) -> None:
    path = tmp_path / "000342_mpii_test.json"
    write_posetrack(annotation, path)
    row = orjson.loads(path.read_bytes())["annotations"][1]
    pose = annotation.poses[0]
    neck, head_top = POSECLI19.index("neck"), POSECLI19.index("head_top")
    np.testing.assert_allclose(row["keypoints"][3:5], pose.keypoints[1, neck], atol=1e-3)
    np.testing.assert_allclose(row["keypoints"][6:8], pose.keypoints[1, head_top], atol=1e-3)
    np.testing.assert_allclose(row["scores"][1:3], pose.scores[1, [neck, head_top]], atol=1e-5)
    assert row["keypoints"][5] == 1
    assert row["keypoints"][9:15] == [0, 0, 0, 0, 0, 0]
    assert row["scores"][3:5] == [0, 0]


@pytest.mark.parametrize(
    ("sequence", "first_id"), [("000001_bonn_test", 20000010000), ("023456_mpiinew_x", 30234560000)]
)
def test_ids_follow_from_the_sequence_name(
    annotation: Annotation, tmp_path: Path, sequence: str, first_id: int
) -> None:
    write_posetrack(annotation, tmp_path / "poses.json", sequence=sequence, split="test")
    image = orjson.loads((tmp_path / "poses.json").read_bytes())["images"][0]
    assert image["id"] == first_id
    assert image["file_name"] == f"images/test/{sequence}/000000.jpg"


def test_any_other_video_gets_a_name_evaluators_can_parse(annotation: Annotation, tmp_path: Path) -> None:
    write_posetrack(annotation, tmp_path / "poses.json")
    image = orjson.loads((tmp_path / "poses.json").read_bytes())["images"][0]
    assert image["file_name"] == "images/val/000001_mpii_l-ufer/000000.jpg"


def test_reading_gives_back_poses_and_frames(annotation: Annotation, tmp_path: Path) -> None:
    write_posetrack(annotation, tmp_path / "poses.json")
    back = read_posetrack(tmp_path / "poses.json")
    assert back.vid_id == "000001"
    assert len(back.file_names) == len(back.frame_ids) == len(back.is_labeled) == 12
    for read, given in zip(back.poses, annotation.poses, strict=True):
        assert (read.track_id, read.skeleton) == (given.track_id, "posetrack18")
        np.testing.assert_array_equal(read.frame_indices, given.frame_indices - 30)
        points, scores = convert_keypoints(given.keypoints, given.scores, POSECLI19, POSETRACK18)
        points[:, 3:5], scores[:, 3:5] = np.nan, 0.0
        np.testing.assert_allclose(read.keypoints, points, atol=6e-4)
        np.testing.assert_allclose(read.scores, scores, atol=6e-6)
        np.testing.assert_allclose(read.boxes, given.boxes, atol=2e-3)
        assert np.isnan(back.head_boxes[read.track_id]).all()


def test_ground_truth_has_no_scores_but_head_boxes(annotation: Annotation, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    write_posetrack(annotation, path)
    document = orjson.loads(path.read_bytes())
    for row in document["annotations"]:
        del row["scores"], row["score"], row["bbox"]
        row["bbox_head"] = [10, 20, 30, 40]
    document["images"][5]["is_labeled"] = False
    path.write_bytes(orjson.dumps(document))
    back = read_posetrack(path)
    assert not back.is_labeled[5]
    assert set(back.poses[0].scores.ravel().tolist()) == {0.0, 1.0}
    assert back.head_boxes[7][0].tolist() == [10, 20, 40, 60]


def test_what_ids_cannot_hold_is_refused(annotation_of, pose_of, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="track id 1000, PoseTrack allows 0 to 999"):
        write_posetrack(annotation_of(pose_of(1000, [30])), tmp_path / "poses.json")
    with pytest.raises(FormatError, match="'walk' is not of PoseTrack's form"):
        write_posetrack(annotation_of(), tmp_path / "poses.json", sequence="walk")
    with pytest.raises(FormatError, match="17 points lack PoseTrack's neck"):
        write_posetrack(annotation_of(pose_of(1, [30], "coco17")), tmp_path / "poses.json")
    crowd = [pose_of(i, [30]) for i in range(101)]
    with pytest.raises(FormatError, match="frame 30 has more than 100 people"):
        write_posetrack(annotation_of(*crowd), tmp_path / "poses.json")
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_or_damaged_file_is_named(annotation: Annotation, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    write_posetrack(annotation, path)
    document = orjson.loads(path.read_bytes())

    def refused(changed: dict, message: str) -> None:
        path.write_bytes(orjson.dumps(changed))
        with pytest.raises(FormatError, match=message):
            read_posetrack(path)

    refused({**document, "categories": []}, "categories: not the one person category")
    repeated = [document["annotations"][0]] * 2
    refused({**document, "annotations": repeated}, r"annotations\[1\].track_id: 7 appears twice in one frame")
    lost = [{**document["annotations"][0], "image_id": 4}]
    refused({**document, "annotations": lost}, r"annotations\[0\].image_id: 4 is not the id of an image")
    refused({**document, "images": document["images"][:1] * 2}, "images: two images have the same id")
