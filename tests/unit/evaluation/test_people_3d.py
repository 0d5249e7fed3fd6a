"""3D poses of a file against the truth of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError
from posecli.evaluation.people_3d import People3D, Person3D, compare_people_3d, read_people_3d
from posecli.formats.coco import read_coco_dataset, write_coco_dataset
from posecli.formats.npz import write_npz
from posecli.records import Annotation, PoseSequence3D
from posecli.skeletons import H36M17, POSECLI19, to_h36m17

ROOT_MM = np.array([100.0, -50.0, 3000.0])


def solid(track_id: int, frame: int) -> Any:
    """(19, 3) mm in the camera's axes: a body of its own that turns a little."""
    body = np.random.default_rng(track_id).normal(0, 300, (19, 3))
    angle = 0.05 * frame
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return body @ turn.T + ROOT_MM


def joints_of(track_id: int, frame: int) -> Any:
    """(17, 3) mm about the root."""
    joints, _ = to_h36m17(solid(track_id, frame).astype(np.float32), np.ones(19, np.float32), POSECLI19)
    return joints - joints[:1]


@pytest.fixture
def truth(tmp_path: Path, walkers: Any) -> Path:
    """As posecli synth clips writes it."""
    document = walkers.document()
    for row in document["annotations"]:
        row["keypoints_3d_mm"] = solid(row["track_id"], row["image_id"] - 100).round(1).tolist()
    path = tmp_path / "truth.json"
    path.write_bytes(orjson.dumps(document))
    return path


@pytest.fixture
def save_poses(tmp_path: Path, walk_poses: Callable[..., Annotation]) -> Callable[..., Path]:
    """Write 3D poses of the walkers: ``tracks`` says whose each track is, ``change`` is what happens to joints of the true person."""

    def save(
        name: str = "walk.poses.json",
        *,
        frames: range = range(12),
        tracks: dict[int, int] | None = None,
        change: Callable[[Any], Any] = lambda joints: joints,
        **options: Any,
    ) -> Path:
        annotation = walk_poses(frames, tracks, **options)
        lifted = []
        for pose in annotation.poses:
            true = (tracks or {1: 1, 2: 2})[pose.track_id]
            joints = np.stack([change(joints_of(true, frame)) for frame in pose.frame_indices.tolist()])
            scores = np.ones(joints.shape[:2], np.float32)
            root = np.zeros((len(pose), 3), np.float32)
            lifted.append(
                PoseSequence3D(pose.track_id, H36M17.name, pose.frame_indices, joints.astype(np.float32), root, scores)
            )
        path = tmp_path / name
        write_coco_dataset(replace(annotation, poses_3d=tuple(lifted)), path, overwrite=True)
        return path

    return save


def compare(poses: Path, truth: Path, **options: Any) -> dict[str, Any]:
    return compare_people_3d(read_people_3d(poses), read_people_3d(truth), **options)


def test_labels_of_rendered_clips_are_read(truth: Path) -> None:
    found = read_people_3d(truth)
    assert [person.track_id for person in found.people] == [1, 2]
    assert found.frames is None
    second = found.people[1]
    np.testing.assert_allclose(second.joints_mm[4], joints_of(2, 4), atol=0.15)  # the file has one decimal
    assert second.joints_px is not None
    assert second.joints_px.shape == (12, 17, 2)


def test_perfect_poses(save_poses: Callable[..., Path], truth: Path) -> None:
    """Other track ids do not matter: people are where they are."""
    report = compare(save_poses(tracks={7: 1, 3: 2}), truth)
    assert (report["true_poses"], report["found_poses"], report["missing_joints"]) == (24, 24, 0)
    assert report["paired_by"] == "picture"
    assert report["mpjpe_mm"] == pytest.approx(0, abs=0.2)
    assert report["pck_150"] == 100
    assert report["frames"] == 24
    assert list(report["per_joint_mm"]) == list(H36M17.joint_names)


def test_a_known_error(save_poses: Callable[..., Path], truth: Path) -> None:
    def raised(joints: Any) -> Any:
        moved = joints.copy()
        moved[3] += [0, 170, 0]
        return moved

    report = compare(save_poses(change=raised), truth)
    assert report["mpjpe_mm"] == pytest.approx(170 / 17, abs=0.2)
    assert report["per_joint_mm"]["right_ankle"] == pytest.approx(170, abs=0.2)
    assert report["pck_150"] == pytest.approx(100 * 13 / 14)
    assert report["mpjve_mm"] == pytest.approx(0, abs=0.2)


def test_size_can_be_forgiven(save_poses: Callable[..., Path], truth: Path) -> None:
    small = save_poses(change=lambda joints: 0.7 * joints)
    assert compare(small, truth)["mpjpe_mm"] > 50
    assert compare(small, truth)["n_mpjpe_mm"] == pytest.approx(0, abs=0.2)
    report = compare(small, truth, is_same_size=True)
    assert report["mpjpe_mm"] == pytest.approx(0, abs=0.3)
    assert report["is_same_size"]


def test_people_who_were_not_found_are_missing(save_poses: Callable[..., Path], truth: Path) -> None:
    report = compare(save_poses(tracks={2: 1}), truth)
    assert (report["true_poses"], report["found_poses"], report["missing_joints"]) == (24, 12, 12 * 17)
    assert report["mpjpe_mm"] == pytest.approx(0, abs=0.2)
    assert report["pck_150"] == 50


def test_people_elsewhere_are_nobody(save_poses: Callable[..., Path], truth: Path) -> None:
    report = compare(save_poses(tracks={2: 1}, offset_px=500.0), truth)
    assert report["found_poses"] == 0
    assert report["mpjpe_mm"] is None


def test_only_frames_of_the_poses_file_count(save_poses: Callable[..., Path], truth: Path) -> None:
    report = compare(save_poses(frames=range(5)), truth)
    assert (report["true_poses"], report["found_poses"]) == (10, 10)


def test_one_poses_file_against_another(save_poses: Callable[..., Path]) -> None:
    one = save_poses("one.poses.json")
    other = save_poses(
        "other.poses.json", tracks={1: 2, 2: 1}, change=lambda joints: joints + np.array([0.0, 0.0, 20.0])
    )
    report = compare(other, one)
    assert report["found_poses"] == 24
    # everything is moved, the root as well: that is no error
    assert report["mpjpe_mm"] == pytest.approx(0, abs=0.2)


def test_arrays_are_paired_by_their_ids(save_poses: Callable[..., Path], truth: Path, tmp_path: Path) -> None:
    """An NPZ knows no pictures."""
    write_npz(read_coco_dataset(save_poses()), tmp_path / "poses.npz")
    report = compare(tmp_path / "poses.npz", truth)
    assert (report["paired_by"], report["found_poses"]) == ("track_id", 24)
    assert report["mpjpe_mm"] == pytest.approx(0, abs=0.2)
    write_npz(read_coco_dataset(save_poses(tracks={1: 1, 5: 2})), tmp_path / "other.npz")
    assert compare(tmp_path / "other.npz", truth)["found_poses"] == 12


def person(track_id: int, frames: list[int], joints: Any, pixels: Any = None) -> Person3D:
    return Person3D(track_id, np.array(frames, np.int64), np.asarray(joints, np.float32), pixels)


def test_without_pictures_track_ids_pair_and_gaps_have_no_steps() -> None:
    """Two frames, one missing, two frames: steps of 10 are predicted where there are none, only within the pieces."""
    still = np.zeros((4, 17, 3))
    moving = still.copy()
    moving[:, 1:, 0] = np.array([0, 10, 500, 510])[:, None]
    predicted = People3D(Path("p"), (person(4, [3, 4, 6, 7], moving), person(5, [3], still[:1])), None)
    truth = People3D(Path("t"), (person(4, [3, 4, 6, 7], still),), None)
    report = compare_people_3d(predicted, truth)
    assert report["paired_by"] == "track_id"
    assert report["found_poses"] == 4
    assert report["mpjve_mm"] == pytest.approx(10 * 16 / 17)


def test_nobody_in_3d(tmp_path: Path, walkers: Any, walk_poses: Callable[..., Annotation], truth: Path) -> None:
    flat = tmp_path / "flat.poses.json"
    write_coco_dataset(walk_poses(), flat)
    with pytest.raises(FormatError, match=r"flat\.poses\.json: nobody in 3D \(posecli annotate --3d"):
        read_people_3d(flat)
    labels = tmp_path / "labels.json"
    labels.write_bytes(orjson.dumps(walkers.document()))
    with pytest.raises(FormatError, match="nobody in 3D"):
        read_people_3d(labels)


def test_broken_labels_are_told(truth: Path) -> None:
    document = orjson.loads(truth.read_bytes())
    document["annotations"][3]["keypoints_3d_mm"] = [[1, 2]]
    truth.write_bytes(orjson.dumps(document))
    with pytest.raises(FormatError, match=r"annotations\[3\]\.keypoints_3d_mm: \(1, 2\) is not \(19, 3\)"):
        read_people_3d(truth)


def test_files_of_other_frames(save_poses: Callable[..., Path], truth: Path) -> None:
    predicted = read_people_3d(save_poses(frames=range(5)))
    late = [replace(p, frame_indices=p.frame_indices + 50) for p in read_people_3d(truth).people]
    with pytest.raises(FormatError, match="nobody in the frames of"):
        compare_people_3d(predicted, People3D(truth, tuple(late), None))
