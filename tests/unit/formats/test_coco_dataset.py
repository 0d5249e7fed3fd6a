from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError, OutputError
from posecli.formats.coco import read_coco_dataset, write_coco_dataset
from posecli.records import Annotation
from posecli.skeletons import COCO17


def written(annotation: Annotation, path: Path) -> dict:
    write_coco_dataset(annotation, path)
    return orjson.loads(path.read_bytes())


def test_every_frame_is_an_image_people_or_not(annotation: Annotation, tmp_path: Path) -> None:
    images = written(annotation, tmp_path / "poses.json")["images"]
    assert [image["frame_index"] for image in images] == list(range(30, 42))
    assert [image["id"] for image in images] == list(range(31, 43))
    assert images[4] == {
        "id": 35,
        "file_name": "läufer/frame_000034.jpg",
        "width": 1920,
        "height": 1080,
        "frame_index": 34,
        "pts": 34 * 3003,
        "time_s": 34 * 3003 / 90000,
        "status": "corrupt",
    }


def test_an_annotation_is_plain_coco_with_extras(annotation: Annotation, tmp_path: Path) -> None:
    document = written(annotation, tmp_path / "poses.json")
    first, pose = document["annotations"][0], annotation.poses[0]
    assert first["image_id"] == 31
    assert first["category_id"] == 1
    assert len(first["keypoints"]) == 51
    assert first["num_keypoints"] == 16
    left, top, width, height = first["bbox"]
    np.testing.assert_allclose([left, top, left + width, top + height], pose.boxes[0], atol=1e-3)
    assert first["area"] == pytest.approx(width * height, abs=1e-3)
    assert first["keypoints"][9:12] == [0, 0, 0]
    assert first["keypoints"][2] == 2
    assert first["keypoint_scores"][3] == 0
    assert first["keypoints_raw"][6:8] == [None, None]
    assert first["attributes"]["track_id"] == first["track_id"] == 7
    assert len(first["posecli"]["extra_keypoints"]) == 6
    np.testing.assert_allclose(first["posecli"]["extra_keypoints"][:2], pose.keypoints[0, 17], atol=1e-3)
    category = document["categories"][0]
    assert category["keypoints"] == list(COCO17.keypoint_names)
    assert category["skeleton"][0] == [16, 14]


def test_annotations_come_in_frame_order(annotation: Annotation, tmp_path: Path) -> None:
    rows = written(annotation, tmp_path / "poses.json")["annotations"]
    assert [(row["image_id"] - 1, row["track_id"]) for row in rows] == [
        *((30, 7), (31, 7), (31, 2), (32, 7), (32, 2), (33, 7), (35, 2), (41, 2)),
    ]
    assert [row["id"] for row in rows] == list(range(1, 9))


@pytest.mark.parametrize("skeleton", ["coco17", "posecli19"])
def test_reading_gives_back_what_was_written(annotation: Annotation, tmp_path: Path, skeleton) -> None:
    write_coco_dataset(annotation, tmp_path / "poses.json", skeleton=skeleton)
    back = read_coco_dataset(tmp_path / "poses.json")
    assert back.video == annotation.video
    assert back.run == annotation.run
    assert back.first_frame_index == 30
    np.testing.assert_array_equal(back.frames.pts, annotation.frames.pts)
    np.testing.assert_array_equal(back.frames.time_s, annotation.frames.time_s)
    np.testing.assert_array_equal(back.frames.is_corrupt, annotation.frames.is_corrupt)
    for read, given in zip(back.poses, annotation.poses, strict=True):
        assert (read.track_id, read.skeleton) == (given.track_id, given.skeleton)
        np.testing.assert_array_equal(read.frame_indices, given.frame_indices)
        np.testing.assert_array_equal(read.interpolated, given.interpolated)
        np.testing.assert_array_equal(read.keypoints, np.round(given.keypoints.astype(float), 3).astype(np.float32))
        np.testing.assert_allclose(read.raw_keypoints, given.raw_keypoints, atol=6e-4)
        np.testing.assert_allclose(read.boxes, given.boxes, atol=6e-4)
        np.testing.assert_allclose(read.scores, given.scores, atol=6e-6)
        np.testing.assert_allclose(read.box_scores, given.box_scores, atol=6e-6)
    write_coco_dataset(back, tmp_path / "again.json", skeleton=skeleton)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "poses.json").read_bytes()


def test_nineteen_points_can_be_the_keypoints(annotation: Annotation, tmp_path: Path) -> None:
    write_coco_dataset(annotation, tmp_path / "poses.json", skeleton="posecli19")
    document = orjson.loads((tmp_path / "poses.json").read_bytes())
    assert len(document["annotations"][0]["keypoints"]) == 57
    assert "posecli" not in document["annotations"][0]
    assert document["categories"][0]["keypoints"][-1] == "head_top"


def test_nobody_in_the_video_is_fine(annotation_of, tmp_path: Path) -> None:
    write_coco_dataset(annotation_of(), tmp_path / "poses.json")
    back = read_coco_dataset(tmp_path / "poses.json")
    assert back.poses == ()
    assert len(back.frames) == 12


def test_a_coordinate_without_a_score_is_missing(annotation_of, pose_of, tmp_path: Path) -> None:
    pose = pose_of(1, [30, 31])
    pose.scores[1, 5] = 0.0
    document = written(annotation_of(pose), tmp_path / "poses.json")
    assert document["annotations"][1]["keypoints"][15:18] == [0, 0, 0]


def test_seventeen_point_poses_keep_their_skeleton(annotation_of, pose_of, tmp_path: Path) -> None:
    annotation = annotation_of(pose_of(1, [30, 31], "coco17"))
    write_coco_dataset(annotation, tmp_path / "poses.json")
    assert read_coco_dataset(tmp_path / "poses.json").poses[0].skeleton == "coco17"
    with pytest.raises(ValueError, match="coco17 cannot be written as posecli19"):
        write_coco_dataset(annotation, tmp_path / "more.json", skeleton="posecli19")
    assert not (tmp_path / "more.json").exists()


def test_poses_outside_the_frames_are_our_own_fault(annotation_of, pose_of, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="track 1 leaves the frames 30 to 41"):
        write_coco_dataset(annotation_of(pose_of(1, [40, 42])), tmp_path / "poses.json")
    with pytest.raises(ValueError, match="same track_id"):
        write_coco_dataset(annotation_of(pose_of(1, [30]), pose_of(1, [31])), tmp_path / "poses.json")


def test_a_box_that_is_not_finite_leaves_no_file(annotation_of, pose_of, tmp_path: Path) -> None:
    pose = pose_of(1, [30, 31])
    pose.boxes[1, 0] = np.nan
    with pytest.raises(ValueError, match="track 1: a box"):
        write_coco_dataset(annotation_of(pose), tmp_path / "poses.json")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(annotation: Annotation, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_coco_dataset(annotation, path)
    assert path.read_text() == "mine"


def broken(annotation: Annotation, path: Path, change) -> Path:
    document = written(annotation, path)
    change(document)
    path.write_bytes(orjson.dumps(document))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("posecli"), "key 'posecli' is missing (not a poses file written by posecli annotate)"),
        (lambda d: d.pop("images"), "top level: key 'images' is missing"),
        (lambda d: d["posecli"].update(format_version=9), "posecli: format_version 9, this posecli reads 1"),
        (lambda d: d["posecli"].update(skeleton="h36m"), 'posecli.skeleton: "h36m" is not coco17 or posecli19'),
        (
            lambda d: d["posecli"]["video"].update(fps="1/0"),
            'posecli.video.fps: "1/0" is not a fraction like "30000/1001"',
        ),
        (lambda d: d["posecli"].update(run=3), "posecli.run: is not an object"),
        (lambda d: d["posecli"].update(track_ids=["a"]), "posecli.track_ids: is not a list of whole numbers"),
        (lambda d: d["categories"].append({}), "categories: 2 categories, one expected"),
        (
            lambda d: d["categories"][0]["keypoints"].reverse(),
            "categories[0].keypoints: these are not the 17 names of coco17, in order",
        ),
        (lambda d: d["images"].pop(2), "images[2].frame_index: 33 with id 34, frame 32 expected"),
        (lambda d: d["images"][1].update(status="late"), 'images[1].status: "late" is not ok or corrupt'),
        (lambda d: d["images"][1].update(pts=1.5), "images[1].pts: 1.5 is not a whole number"),
        (lambda d: d["annotations"][3]["keypoints"].pop(), "annotations[3].keypoints: 50 numbers, 51 expected"),
        (
            lambda d: d["annotations"][3]["keypoints"].__setitem__(4, "x"),
            'annotations[3].keypoints[4]: "x" is not a number',
        ),
        (
            lambda d: d["annotations"][3]["keypoints"].__setitem__(4, None),
            "annotations[3].keypoints[4]: null is not a number",
        ),
        (lambda d: d["annotations"][3].update(bbox=None), "annotations[3].bbox: null is not a list of 4 numbers"),
        (lambda d: d["annotations"][3].pop("posecli"), "annotations[3]: key 'posecli' is missing"),
        (lambda d: d["annotations"][3].update(track_id=5), "annotations[3].track_id: 5 is not in posecli.track_ids"),
        (lambda d: d["annotations"][3].update(image_id=99), "annotations[3].image_id: 99 is not the id of an image"),
        (
            lambda d: d["annotations"][3].update(image_id=31),
            "annotations[3].image_id: frame 30 of its track comes after frame 31",
        ),
        (lambda d: d["annotations"][3].update(interpolated="no"), 'interpolated: "no" is not true or false'),
        (lambda d: d.update(annotations={}), "annotations: {} is not a list"),
        (lambda d: d["annotations"].insert(0, 5), "annotations[0]: 5 is not an object"),
    ],
)
def test_a_damaged_file_is_named_with_key_and_value(
    annotation: Annotation, tmp_path: Path, change, message: str
) -> None:
    path = broken(annotation, tmp_path / "poses.json", change)
    with pytest.raises(FormatError) as error:
        read_coco_dataset(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_a_truncated_file_says_so(annotation: Annotation, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    write_coco_dataset(annotation, path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(FormatError, match=r"not valid JSON at line \d+, column \d+.*may be truncated"):
        read_coco_dataset(path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"poses"'])
def test_some_other_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FormatError, match="not a poses file written by posecli annotate"):
        read_coco_dataset(tmp_path / "x.json")


def test_a_missing_file_is_a_format_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file"):
        read_coco_dataset(tmp_path / "nothing.json")


def test_writing_does_not_build_the_file_in_memory(annotation_of, pose_of, tmp_path: Path) -> None:
    import tracemalloc

    def peak(num_tracks: int) -> int:
        annotation = annotation_of(*(pose_of(i, list(range(30, 42))) for i in range(num_tracks)))
        long = replace(
            annotation,
            frames=replace(
                annotation.frames,
                pts=np.arange(4000),
                time_s=np.arange(4000.0),
                is_corrupt=np.zeros(4000, np.bool_),
            ),
            poses=tuple(_stretched(pose, 4000) for pose in annotation.poses),
        )
        tracemalloc.start()
        write_coco_dataset(long, tmp_path / f"{num_tracks}.json")
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    size = (peak(1), (tmp_path / "1.json").stat().st_size)
    assert size[1] > 4_000_000
    assert size[0] < size[1]


def _stretched(pose, num_frames: int):
    repeats = num_frames // len(pose)
    tiled = {
        name: np.concatenate([getattr(pose, name)] * repeats)
        for name in ("keypoints", "raw_keypoints", "scores", "boxes", "box_scores", "interpolated")
    }
    return replace(pose, frame_indices=np.arange(30, 30 + repeats * len(pose)), **tiled)
