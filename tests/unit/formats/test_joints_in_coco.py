"""The 3D part of posecli's own file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError
from posecli.formats.coco import read_coco_dataset, write_coco_dataset
from posecli.records import Annotation, PoseSequence, PoseSequence3D
from posecli.skeletons import H36M17


def in_3d(pose: PoseSequence) -> PoseSequence3D:
    rng = np.random.default_rng(pose.track_id)
    joints = rng.normal(0, 400, (len(pose), 17, 3)).astype(np.float32)
    joints[:, 0] = 0.0
    scores = rng.random((len(pose), 17)).astype(np.float32)
    joints[0, 5], scores[0, 5] = np.nan, 0.0
    scores[1, 6] = 0.0
    joints[2], scores[2] = np.nan, 0.0
    root = rng.normal(0, 5000, (len(pose), 3)).astype(np.float32)
    root[1:3] = np.nan
    return PoseSequence3D(pose.track_id, "h36m17", pose.frame_indices, joints, root, scores)


@pytest.fixture
def lifted(annotation: Annotation) -> Annotation:
    run = {**annotation.run, "lifting": {"weights": "posecli-lifter", "height_cm": 170.0}}
    return replace(annotation, poses_3d=tuple(in_3d(pose) for pose in annotation.poses), run=run)


@pytest.mark.parametrize("skeleton", ["coco17", "posecli19"])
def test_reading_gives_back_what_was_written(lifted: Annotation, tmp_path: Path, skeleton) -> None:
    write_coco_dataset(lifted, tmp_path / "poses.json", skeleton=skeleton)
    back = read_coco_dataset(tmp_path / "poses.json")
    for read, given in zip(back.poses_3d, lifted.poses_3d, strict=True):
        assert (read.track_id, read.skeleton) == (given.track_id, "h36m17")
        np.testing.assert_array_equal(read.frame_indices, given.frame_indices)
        np.testing.assert_allclose(read.joints_mm, given.joints_mm, rtol=0, atol=0.0501)
        np.testing.assert_allclose(read.root_mm, given.root_mm, rtol=0, atol=0.501)
        np.testing.assert_allclose(read.scores, given.scores, rtol=0, atol=6e-6)
    write_coco_dataset(back, tmp_path / "again.json", skeleton=skeleton)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "poses.json").read_bytes()


def test_the_file_says_what_the_numbers_mean(lifted: Annotation, tmp_path: Path) -> None:
    write_coco_dataset(lifted, tmp_path / "poses.json")
    document = orjson.loads((tmp_path / "poses.json").read_bytes())
    head = document["posecli"]["joints"]
    assert head["names"] == list(H36M17.joint_names)
    assert head["parents"][:3] == [-1, 0, 1]
    assert (head["unit"], head["frame"]) == ("mm", "camera: x right, y down, z forward")
    assert head["root"].startswith("rough")
    assert head["lifter"] == {"weights": "posecli-lifter", "height_cm": 170.0}
    assert head["track_ids"] == [7, 2]
    first, second = document["annotations"][:2]
    assert len(first["posecli"]["joints_mm"]) == 17
    assert first["posecli"]["joints_mm"][0] == [0.0, 0.0, 0.0]
    assert first["posecli"]["joints_mm"][5] is None
    assert first["posecli"]["joint_scores"][5] == 0.0
    assert len(first["posecli"]["root_mm"]) == 3
    assert second["posecli"]["root_mm"] is None
    assert second["posecli"]["joints_mm"][6] is not None
    empty = next(row for row in document["annotations"] if (row["track_id"], row["image_id"]) == (7, 33))
    assert "joints_mm" not in empty["posecli"]


def test_files_without_3d_know_nothing_of_it(annotation: Annotation, tmp_path: Path) -> None:
    write_coco_dataset(annotation, tmp_path / "poses.json")
    content = (tmp_path / "poses.json").read_bytes()
    assert b"joint" not in content
    assert b"_mm" not in content
    assert read_coco_dataset(tmp_path / "poses.json").poses_3d == ()


def test_some_people_may_lack_3d(lifted: Annotation, tmp_path: Path) -> None:
    write_coco_dataset(replace(lifted, poses_3d=lifted.poses_3d[1:]), tmp_path / "poses.json")
    assert [pose.track_id for pose in read_coco_dataset(tmp_path / "poses.json").poses_3d] == [2]


def test_3d_that_does_not_fit_is_our_own_fault(lifted: Annotation, tmp_path: Path) -> None:
    one, other = lifted.poses_3d
    for poses, message in (
        ((one, one), "same track_id"),
        ((replace(one, frame_indices=one.frame_indices + 1),), "track 7: its 3D poses are not of the frames"),
        ((replace(one, track_id=9),), "track 9: its 3D poses are not of the frames"),
        ((replace(other, skeleton="other"),), "skeleton other, h36m17 wanted"),
    ):
        with pytest.raises(ValueError, match=message):
            write_coco_dataset(replace(lifted, poses_3d=poses), tmp_path / "poses.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["posecli"]["joints"]["names"].reverse(), "posecli.joints.names: these are not the 17 joints of"),
        (lambda d: d["posecli"]["joints"].pop("track_ids"), "posecli.joints: key 'track_ids' is missing"),
        (lambda d: d["posecli"]["joints"].update(track_ids=["a"]), "track_ids: is not a list of whole numbers"),
        (lambda d: d["posecli"]["joints"].update(track_ids=[5]), "track_ids: 5 is not in posecli.track_ids"),
        (
            lambda d: d["annotations"][0]["posecli"]["joints_mm"].pop(),
            "annotations[0].posecli.joints_mm: 16 joints, 17 expected",
        ),
        (
            lambda d: d["annotations"][0]["posecli"]["joints_mm"][3].append(1),
            "annotations[0].posecli.joints_mm[3]: 4 numbers, 3 expected",
        ),
        (lambda d: d["annotations"][0]["posecli"].pop("root_mm"), "annotations[0].posecli: key 'root_mm' is missing"),
        (lambda d: d["annotations"][0]["posecli"].update(root_mm=7), "posecli.root_mm: 7 is not a list of 3 numbers"),
        (lambda d: d["annotations"][0]["posecli"].pop("joint_scores"), "key 'joint_scores' is missing"),
    ],
)
def test_a_damaged_file_is_named_with_key_and_value(lifted: Annotation, tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "poses.json"
    write_coco_dataset(lifted, path)
    document = orjson.loads(path.read_bytes())
    change(document)
    path.write_bytes(orjson.dumps(document))
    with pytest.raises(FormatError) as error:
        read_coco_dataset(path)
    assert message in str(error.value)
