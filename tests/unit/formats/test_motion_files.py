"""TRC, BVH and NPZ: what is written comes back, and is where the format says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from posecli.errors import FormatError, OutputError
from posecli.formats.bvh import bone_motion, write_bvh_files
from posecli.formats.bvh_reader import read_bvh
from posecli.formats.npz import read_npz, write_npz
from posecli.formats.person_motion import check_person_files, frame_rate, person_motion
from posecli.formats.trc import read_trc, write_trc_files
from posecli.records import Annotation, FrameTable, PoseSequence3D
from posecli.skeletons import H36M17

FPS = Fraction(30000, 1001)
FIRST, COUNT = 30, 60
GAP = np.arange(50, 56)


def turning_body(num_frames: int) -> np.ndarray:
    """(T, 17, 3): bones of constant length that turn anyhow but smoothly, hips and shoulders collinear with their middles."""
    rng = np.random.default_rng(5)
    time = np.arange(num_frames) / 30
    joints = np.zeros((num_frames, 17, 3))
    names = H36M17.joint_names
    for parent, child in H36M17.bones:
        swing = rng.normal(size=(3, 3))
        direction = rng.normal(size=3) + 0.8 * np.sin(time[:, None] * rng.uniform(1, 5, 3)) @ swing
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        mirror = {"left_hip": "right_hip", "right_shoulder": "left_shoulder"}.get(names[child])
        offset = direction * (80 + 20 * child)
        if mirror is not None:
            offset = joints[:, parent] - joints[:, names.index(mirror)]
        joints[:, child] = joints[:, parent] + offset
    return joints.astype(np.float32)


@pytest.fixture
def lifted(annotation: Annotation) -> Annotation:
    """Two people of 60 frames from frame 30 on; one is away for six frames, the other was never lifted."""
    pts = np.arange(FIRST, FIRST + COUNT, dtype=np.int64)
    table = FrameTable(pts, pts.astype(np.float64) / float(FPS), np.zeros(COUNT, bool))
    frames = np.delete(pts, GAP - FIRST)
    joints = turning_body(COUNT)[frames - FIRST]
    joints[3] = np.nan
    root = np.stack([10.0 * frames, -200 + 0 * frames, 4000 - 5.0 * frames], axis=1).astype(np.float32)
    root[10:13] = np.nan
    scores = np.where(np.isfinite(joints).all(axis=-1), 0.7, 0.0).astype(np.float32)
    nobody = np.full((COUNT, 17, 3), np.nan, np.float32)
    poses = (
        PoseSequence3D(7, "h36m17", frames, joints, root, scores),
        PoseSequence3D(9, "h36m17", pts, nobody, nobody[:, 0], np.zeros((COUNT, 17), np.float32)),
    )
    return replace(annotation, frames=table, poses=(), poses_3d=poses, first_frame_index=FIRST)


def test_a_motion_has_every_frame_is_upright_and_stands_at_its_root(lifted: Annotation) -> None:
    pose = lifted.poses_3d[0]
    motion = person_motion(lifted, pose)
    assert motion is not None
    assert motion.frame_indices.tolist() == list(range(FIRST, FIRST + COUNT))
    assert motion.fps == float(FPS)
    rows = pose.frame_indices - FIRST
    root = np.stack([10.0 * pose.frame_indices, 200 + 0 * rows, 5.0 * pose.frame_indices - 4000], axis=1)
    assert np.nanmax(np.abs(motion.positions_mm[rows, 0] - root)) < 0.01  # the frames without a root lie on a line
    relative = motion.positions_mm[rows] - motion.positions_mm[rows, :1]
    assert np.nanmax(np.abs(relative - pose.joints_mm * [1, -1, -1])) < 0.01
    assert np.flatnonzero(np.isnan(motion.positions_mm).all(axis=(1, 2))).tolist() == [3, *(GAP - FIRST)]
    assert person_motion(lifted, lifted.poses_3d[1]) is None


def test_a_frame_rate_that_the_container_hides_is_measured(lifted: Annotation) -> None:
    silent = replace(lifted, video=replace(lifted.video, fps=None))
    assert frame_rate(silent) == pytest.approx(float(FPS))


def test_a_trc_is_what_opensim_reads(lifted: Annotation, tmp_path: Path) -> None:
    """The rules of its reader (TRCFileAdapter): keys, as many values, labels, and exactly 2 + 3 M cells that each end with a tab."""
    [path] = write_trc_files(lifted, tmp_path / "markers")
    assert path == tmp_path / "markers" / "läufer_7.trc"
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\tläufer_7.trc"
    keys = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"
    assert lines[1].split("\t") == keys.split()
    assert lines[2].split("\t") == ["29.97003", "29.97003", "60", "17", "mm", "29.97003", "31", "60"]
    labels = [label for label in lines[3].split("\t") if label]
    assert labels == ["Frame#", "Time", *H36M17.joint_names]
    assert [label for label in lines[4].split("\t") if label][:4] == ["X1", "Y1", "Z1", "X2"]
    assert lines[5] == lines[-1] == ""
    assert len(lines) == 6 + COUNT + 1
    for line in lines[6:-1]:
        assert line.count("\t") == 2 + 3 * 17
        assert line.endswith("\t")
    assert lines[6 + 3].strip() == f"34\t{33 * 1001 / 30000:.6f}"


def test_a_trc_comes_back_to_the_printed_decimals(lifted: Annotation, tmp_path: Path) -> None:
    [path] = write_trc_files(lifted, tmp_path)
    back, motion = read_trc(path), person_motion(lifted, lifted.poses_3d[0])
    assert motion is not None
    assert (back.marker_names, back.units, back.rate_hz) == (H36M17.joint_names, "mm", 29.97003)
    assert np.array_equal(back.frame_numbers, motion.frame_indices + 1)
    assert np.abs(back.time_s - motion.time_s).max() < 1e-6
    np.testing.assert_array_equal(np.isnan(back.positions), np.isnan(motion.positions_mm))
    np.testing.assert_array_equal(back.positions, np.round(motion.positions_mm, 3))


def test_a_bvh_turned_forward_gives_back_the_joints(lifted: Annotation, tmp_path: Path) -> None:
    [path] = write_bvh_files(lifted, tmp_path)
    back, motion = read_bvh(path), person_motion(lifted, lifted.poses_3d[0])
    assert motion is not None
    assert back.frame_time_s == pytest.approx(1001 / 30000, abs=1e-8)
    assert len(back.root_cm) == COUNT
    joints = [back.tree.names.index(name) for name in H36M17.joint_names]
    difference = back.positions_cm()[:, joints] * 10 - motion.positions_mm
    assert np.nanmax(np.abs(difference)) < 0.1
    assert np.abs(np.diff(back.rotations_deg, axis=0)).max() <= 180.0


def test_a_bvh_stands_in_a_t_pose_and_names_all_joints(lifted: Annotation, tmp_path: Path) -> None:
    [path] = write_bvh_files(lifted, tmp_path)
    text = path.read_text()
    assert text.startswith(
        "HIERARCHY\nROOT root\n{\n\tOFFSET 0.0000 0.0000 0.0000\n\tCHANNELS 6 Xposition Yposition Zposition"
    )
    assert text.count("End Site") == 5
    tree = read_bvh(path).tree
    assert set(H36M17.joint_names) <= set(tree.names)
    assert len(tree.names) == 17 + 6
    still = replace(
        bone_motion(person_motion(lifted, lifted.poses_3d[0])),  # type: ignore[arg-type]
        root_cm=np.zeros((1, 3)),
        rotations_deg=np.zeros((1, 23, 3)),
    )
    where = dict(zip(still.tree.names, still.positions_cm()[0], strict=True))
    assert where["left_wrist"][0] > where["left_elbow"][0] > where["left_shoulder"][0] > 0 > where["right_wrist"][0]
    assert where["head"][1] > where["thorax"][1] > 0 > where["left_knee"][1] > where["left_ankle"][1]
    assert np.linalg.norm(tree.offsets_cm[tree.names.index("left_knee")]) == pytest.approx(18.0, abs=1e-3)


def test_a_gap_in_a_bvh_runs_straight(lifted: Annotation, tmp_path: Path) -> None:
    [path] = write_bvh_files(lifted, tmp_path)
    root = read_bvh(path).root_cm
    assert np.abs(np.diff(root[:, 0]) - 1.0).max() < 1e-3


def test_an_npz_comes_back_exactly(lifted: Annotation, tmp_path: Path) -> None:
    write_npz(lifted, tmp_path / "poses.npz")
    for read, given in zip(read_npz(tmp_path / "poses.npz"), lifted.poses_3d, strict=True):
        assert (read.track_id, read.skeleton) == (given.track_id, given.skeleton)
        for name in ("frame_indices", "joints_mm", "root_mm", "scores"):
            np.testing.assert_array_equal(getattr(read, name), getattr(given, name))
    with np.load(tmp_path / "poses.npz") as arrays:
        assert tuple(arrays["joint_names"]) == H36M17.joint_names
        assert (str(arrays["unit"]), float(arrays["fps"])) == ("mm", float(FPS))
        assert np.allclose(arrays["track_7_time_s"], lifted.poses_3d[0].frame_indices / float(FPS))
    write_npz(lifted, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "poses.npz").read_bytes()


@pytest.mark.parametrize(("write", "suffix"), [(write_trc_files, ".trc"), (write_bvh_files, ".bvh")])
def test_nothing_is_overwritten_unasked(lifted: Annotation, tmp_path: Path, write, suffix: str) -> None:
    mine = tmp_path / f"läufer_7{suffix}"
    mine.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        check_person_files(tmp_path, "läufer", suffix, overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write(lifted, tmp_path)
    assert mine.read_text() == "mine"
    check_person_files(tmp_path, "läufer", suffix, overwrite=False, own={mine.name})
    check_person_files(tmp_path, "other", suffix, overwrite=False)
    noted: list[Path] = []
    assert write(lifted, tmp_path, overwrite=True, note=noted.append) == [mine] == noted
    assert mine.read_text() != "mine"


def test_a_folder_that_cannot_be_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file, a folder is needed"):
        check_person_files(tmp_path / "file", "x", ".trc", overwrite=False)
    with pytest.raises(OutputError, match="does not exist"):
        check_person_files(tmp_path / "no" / "such", "x", ".trc", overwrite=False)
    check_person_files(tmp_path / "new", "x", ".trc", overwrite=False)
    assert not (tmp_path / "new").exists()


def test_nobody_in_3d_is_no_file(annotation: Annotation, tmp_path: Path) -> None:
    assert write_trc_files(annotation, tmp_path / "new") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], "not a TRC file"),
        (lambda lines: [*lines[:2], "30\t30", *lines[3:]], "line 3"),
        (lambda lines: [*lines[:3], "Frame#\tTime\troot\t\t\t", *lines[4:]], "line 4: 1 markers, 17 expected"),
        (lambda lines: [*lines[:7], lines[7] + "\t1\t", *lines[8:]], "line 8: 55 cells, 53 expected"),
        (lambda lines: [*lines[:7], lines[7].replace("32\t", "x\t", 1), *lines[8:]], "line 8: could not convert"),
    ],
)
def test_a_damaged_trc_is_named_with_its_line(lifted: Annotation, tmp_path: Path, change, message: str) -> None:
    [path] = write_trc_files(lifted, tmp_path)
    path.write_text("\n".join(change(path.read_text(encoding="utf-8").split("\n"))), encoding="utf-8")
    with pytest.raises(FormatError) as error:
        read_trc(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[1:], "line 1: 'IERARCHY', 'HIERARCHY' expected"),
        (lambda text: text.replace("Zrotation Xrotation", "Xrotation Zrotation", 1), "line 5: 'CHANNELS 6"),
        (lambda text: text.replace("Frame Time:", "Time:"), "'Frame Time:' expected"),
        (lambda text: text[: len(text) // 2], "expected"),
        (lambda text: text[: text.rindex("\n", 0, -1)], "ends after line"),
        (lambda text: text.replace("}\nMOTION", "MOTION"), "not complete"),
        (lambda text: text.replace("End Site", "End", 1), "'End' is not expected here"),
        (lambda text: text.replace("OFFSET 0.0000 0.0000", "OFFSET 0.0000 x", 1), "line 4: could not convert"),
    ],
)
def test_a_damaged_bvh_is_named_with_its_line(lifted: Annotation, tmp_path: Path, change, message: str) -> None:
    [path] = write_bvh_files(lifted, tmp_path)
    path.write_text(change(path.read_text()))
    with pytest.raises(FormatError) as error:
        read_bvh(path)
    assert message in str(error.value)


def test_what_is_no_npz_says_so(tmp_path: Path) -> None:
    for content in (b"", b"poses", b"PK\x03\x04"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(FormatError, match="not an NPZ of 3D poses"):
            read_npz(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(FormatError, match="not an NPZ of 3D poses"):
        read_npz(tmp_path / "x.npy")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match="not an NPZ of 3D poses"):
        read_npz(tmp_path / "other.npz")
