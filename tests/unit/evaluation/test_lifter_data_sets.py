"""Human3.6M and MPI-INF-3DHP: files of their layouts, and lifters whose errors are known beforehand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posecli.errors import ConfigError, FormatError
from posecli.evaluation import mpi_inf_3dhp as mpi
from posecli.evaluation.h36m import cut_clips, evaluate_h36m
from posecli.evaluation.h36m_files import read_motionbert, read_videopose3d
from posecli.evaluation.joints import joints_report
from posecli.evaluation.lift import Lift, LifterUnderTest, mirrored, normalise_image, standard_size
from posecli.skeletons import H36M17, STANDARD_BONES_MM

F = 9
LEFT_KNEE, RIGHT_KNEE = H36M17.joint_names.index("left_knee"), H36M17.joint_names.index("right_knee")
VIDEOS = {  # name: (action, camera, frames)
    "s_09_act_02_subact_01_ca_01": (2, "54138969", 20),
    "s_09_act_05_subact_02_ca_03": (5, "58860488", 9),
    "s_11_act_02_subact_02_ca_02": (2, "55011271", 5),
    "s_11_act_16_subact_01_ca_04": (16, "60457274", 9),
}


def see_through(offset: float = 0.0, joint: int = LEFT_KNEE) -> Lift:
    """x and y as seen, z from the score channel, about the root; one joint off by a known distance along z."""

    def lift(clips: Any) -> Any:
        assert clips.dtype == np.float32
        assert clips.flags.c_contiguous
        joints = clips - clips[..., :1, :]
        joints[..., joint, 2] += offset
        return joints + 0.25  # the root is not 0 by itself

    return lift


def image_lifter(offset: float = 0.0, **options: Any) -> LifterUnderTest:
    def lift(clips: Any) -> Any:
        return see_through(offset)(clips) - np.float32(0.25)

    return LifterUnderTest(lift, "image", 3, **options)


# the lifter under test


def test_inputs_are_normalised_as_the_authors_do() -> None:
    """By hand: 250 of 1000 px is -0.5 across; 501 of 1002 is the middle; 1002 is 1.002 half widths below it."""
    points = np.array([[250.0, 501.0], [1000.0, 1002.0], [0.0, 0.0]], np.float32)
    found = normalise_image(points, np.array([1000, 1002], np.float32))
    np.testing.assert_allclose(found, [[-0.5, 0.0], [1.0, 1.002], [-1.0, -1.002]], atol=1e-6)


def test_the_mirror_is_averaged_and_the_root_is_zero() -> None:
    rng = np.random.default_rng(0)
    clips, scores = rng.uniform(0, 1000, (3, F, 17, 2)).astype(np.float32), np.ones((3, F, 17), np.float32)
    sizes = np.full((3, 2), 1000, np.float32)
    seen: list[Any] = []

    def lift(inputs: Any) -> Any:
        seen.append(inputs)
        found = np.zeros((*inputs.shape[:3], 3), np.float32)
        found[..., LEFT_KNEE, :] = [4, 5, 6]
        found[..., 0, :] = 9
        return found

    lifted = LifterUnderTest(lift, "image", 2)(clips, scores, sizes)
    assert len(seen) == 2
    assert seen[0].shape == (3, F, 17, 2)
    np.testing.assert_array_equal(seen[1], mirrored(seen[0]))
    np.testing.assert_array_equal(seen[1][..., RIGHT_KNEE, 0], -seen[0][..., LEFT_KNEE, 0])
    assert lifted.is_pixels
    assert (lifted.joints[..., 0, :] == 0).all()
    assert lifted.joints[0, 0, LEFT_KNEE].tolist() == [1000, 1250, 1500]  # half of 4, 5, 6, times half of the width
    assert lifted.joints[0, 0, RIGHT_KNEE].tolist() == [-1000, 1250, 1500]
    alone = LifterUnderTest(lift, "image", 2, is_mirrored=False)(clips, scores, sizes)
    assert len(seen) == 3
    assert alone.joints[0, 0, LEFT_KNEE].tolist() == [2000, 2500, 3000]


def test_missing_joints_are_zeros() -> None:
    clips, scores = np.full((1, F, 17, 2), 700, np.float32), np.ones((1, F, 17), np.float32)
    clips[0, 3, 5] = np.nan
    for normalisation in ("image", "person"):
        seen: list[Any] = []

        def lift(inputs: Any, seen: list[Any] = seen) -> Any:
            seen.append(inputs)
            return np.zeros((*inputs.shape[:3], 3), np.float32)

        LifterUnderTest(lift, normalisation, 3, is_mirrored=False)(clips, scores, np.full((1, 2), 1000, np.float32))
        assert seen[0][0, 3, 5].tolist() == [0, 0, 0]
        assert seen[0][0, 3, 6, 2] == 1


def test_size_is_that_of_the_bones() -> None:
    chain = np.zeros((3, 17, 3))
    depth = [0]
    for joint in range(1, 17):
        depth.append(depth[H36M17.parents[joint]] + 1)
        chain[:, joint, 0] = 100 * depth[joint]
    chain[1, 3] = np.nan
    chain[2, 16, 2] = 5000  # one frame in three is wrong: the median does not mind
    assert standard_size(chain) == pytest.approx(1600 / STANDARD_BONES_MM)
    assert np.isnan(standard_size(np.full((2, 17, 3), np.nan)))


# clips


def test_clips_by_hand() -> None:
    """20 frames: two clips of 9, two frames left; 9: one; 5: stretched to 9; a second piece of a video seen before is not."""
    videos = np.repeat([0, 1, 2, 0], [20, 9, 5, 4])
    clips = cut_clips(videos, 9)
    assert clips[:3].tolist() == [list(range(9)), list(range(9, 18)), list(range(20, 29))]
    assert clips[3].tolist() == [29, 29, 30, 30, 31, 31, 32, 32, 33]
    assert len(clips) == 4
    assert cut_clips(videos[:0], 9).shape == (0, 9)


# Human3.6M, MotionBERT's file


def motionbert(path: Path, *, protocol: int = 4, **changes: Any) -> Path:
    """As MotionBERT's: N frames of all test videos, lists of texts beside arrays; `train` as well."""
    rng = np.random.default_rng(1)
    counts = [frames for _, _, frames in VIDEOS.values()]
    count = sum(counts)
    solid = np.array([500.0, 480.0, 0.0]) + rng.normal(0, 100, (count, 17, 3))
    factor = rng.uniform(3, 5, count)
    camera = [camera for _, camera, n in VIDEOS.values() for _ in range(n)]
    part: dict[str, Any] = {
        "joint_2d": solid[..., :2].astype(np.float32),
        "confidence": (solid[..., 2] / 500).astype(np.float32)[..., None],
        "joint3d_image": solid,
        "joints_2.5d_image": solid * factor[:, None, None],
        "2.5d_factor": factor,
        "camera_name": np.array(camera),
        "source": [name for name, (_, _, n) in VIDEOS.items() for _ in range(n)],
        "action": [action for action, _, n in VIDEOS.values() for _ in range(n)],
    }
    part |= changes
    kept = {name: value for name, value in part.items() if value is not None}
    content = {"train": {"joint_2d": np.zeros((4, 17, 2))}, "test": kept}
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_motionbert_is_read(tmp_path: Path, protocol: int) -> None:
    test = read_motionbert(motionbert(tmp_path / "h36m.pkl", protocol=protocol))
    assert len(test) == 43
    assert test.video_names == tuple(VIDEOS)
    assert test.actions == ("Directions", "Greeting", "Directions", "WalkTogether")
    assert np.bincount(test.video_ids).tolist() == [20, 9, 5, 9]
    assert test.sizes_wh[[0, 20, 29, 34]].tolist() == [[1000, 1002], [1000, 1000], [1000, 1000], [1000, 1002]]
    assert test.scores.shape == (43, 17)
    without = read_motionbert(motionbert(tmp_path / "h36m.pkl", confidence=None, action=["Sitting"] * 43))
    assert (without.scores == 1).all()
    assert set(without.actions) == {"Sitting"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"joint_2d": None}, r"test\.joint_2d: NoneType is not \(frames, joints, 2\)"),
        ({"joint_2d": np.zeros((43, 16, 2))}, "16 joints, wanted are 17"),
        ({"joints_2.5d_image": np.zeros((40, 17, 3))}, "has 40 frames, joint_2d 43"),
        ({"source": ["x"] * 9}, r"test\.source: not a list of 43"),
        ({"camera_name": ["54138969"] * 42 + ["7"]}, "'7' is not one of 54138969"),
        ({"confidence": np.zeros((43, 3))}, r"\(43, 3\) is not \(43, 17\)"),
        ({"2.5d_factor": 3.0}, r"2\.5d_factor: not a list"),
    ],
)
def test_other_layouts_are_told(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        read_motionbert(motionbert(tmp_path / "h36m.pkl", **changes))


def test_a_perfect_lifter_has_no_error(tmp_path: Path) -> None:
    test = read_motionbert(motionbert(tmp_path / "h36m.pkl"))
    told: list[tuple[int, int]] = []
    report = evaluate_h36m(image_lifter(batch_size=3), test, clip_frames=F, progress=lambda *n: told.append(n))
    assert told == [(3, 4), (4, 4)]
    assert list(report.per_action) == ["Directions", "WalkTogether"]  # Greeting is the broken one
    assert (report.num_clips, report.num_frames, report.num_unseen, report.num_broken) == (4, 18 + 5 + 9, 2, 9)
    for metrics in (*report.per_action.values(), report.mean):
        assert list(metrics.values()) == pytest.approx([0] * 4, abs=2e-2)  # 32-bit pixels times 5 mm
    assert set(report.to_json()) >= {"mpjpe_mm", "per_action", "per_joint_mm", "clip_frames", "frames"}


def test_a_known_error_comes_out(tmp_path: Path) -> None:
    """0.02 half widths of 1000 px are 10 px; times the frame's factor; in the mirrored clip the other knee is off, so each half."""
    test = read_motionbert(motionbert(tmp_path / "h36m.pkl"))
    report = evaluate_h36m(image_lifter(0.02), test, clip_frames=F)
    assert test.factors is not None
    judged = {"Directions": [*range(18), *range(29, 34)], "WalkTogether": list(range(34, 43))}
    for action, frames in judged.items():
        wanted = float(np.mean(10 * test.factors[frames])) / 17
        assert report.per_action[action]["mpjpe_mm"] == pytest.approx(wanted, rel=1e-3)
    values = [value for action in judged if (value := report.per_action[action]["mpjpe_mm"]) is not None]
    assert report.mean["mpjpe_mm"] == pytest.approx(sum(values) / 2, rel=1e-9)  # of actions, not of frames
    unmirrored = evaluate_h36m(image_lifter(0.02, is_mirrored=False), test, clip_frames=F)
    assert unmirrored.mean["mpjpe_mm"] == pytest.approx(report.mean["mpjpe_mm"], rel=1e-3)
    joints = unmirrored.per_joint_mm
    assert [name for name, value in joints.items() if value is not None and value > 0.1] == ["left_knee"]
    assert report.per_joint_mm["left_knee"] == pytest.approx(report.per_joint_mm["right_knee"], rel=1e-3)


def test_h36m_against_a_loop(tmp_path: Path) -> None:
    """The protocol once more, frame by frame, as the authors' code goes about it."""
    rng = np.random.default_rng(8)
    test = read_motionbert(motionbert(tmp_path / "h36m.pkl"))
    weights = rng.normal(0, 0.5, (3, 3)).astype(np.float32)
    lifter = LifterUnderTest(lambda clips: clips @ weights, "image", 3)
    report = evaluate_h36m(lifter, test, clip_frames=F)
    assert test.factors is not None
    frames_of: dict[int, list[Any]] = {
        0: [range(9), range(9, 18)],
        2: [[29, 29, 30, 30, 31, 31, 32, 32, 33]],
        3: [range(34, 43)],
    }
    errors: dict[int, list[float]] = {}
    for video, clips in frames_of.items():
        w, h = test.sizes_wh[test.video_ids == video][0]
        for frame in (int(f) for clip in clips for f in clip):
            x = np.c_[test.joints_px[frame] / w * 2 - [1, h / w], test.scores[frame]]
            flipped = x[H36M17.flip_indices] * [-1, 1, 1]
            back = (flipped @ weights)[H36M17.flip_indices] * [-1, 1, 1]
            out = (x @ weights + back) / 2
            out[0] = 0
            out[:, :2] = (out[:, :2] + [1, h / w]) * w / 2
            out[:, 2] = out[:, 2] * w / 2
            out *= test.factors[frame]
            true = test.truth_mm[frame]
            distances = np.linalg.norm((out - out[0]) - (true - true[0]), axis=1)
            errors.setdefault(frame, []).append(float(distances.mean()))
    per_action = []
    for videos in ((0, 2), (3,)):
        own = [np.mean(e) for frame, e in errors.items() if test.video_ids[frame] in videos]
        per_action.append(np.mean(own))
    assert report.mean["mpjpe_mm"] == pytest.approx(np.mean(per_action), rel=1e-4)


def test_a_standard_body_is_given_its_size(tmp_path: Path) -> None:
    """Somebody keeps a pose and moves through the picture: a lifter that says this pose, of the standard body's size, is right."""
    rng = np.random.default_rng(3)
    pose = rng.normal(0, 200, (17, 3))
    solid = pose + rng.uniform(300, 600, (43, 1, 3))
    changes: dict[str, Any] = {"joint_2d": solid[..., :2], "joints_2.5d_image": solid * 4.0}
    path = motionbert(tmp_path / "h36m.pkl", **changes)
    seen: list[Any] = []

    def lift(clips: Any, scale: float = 1.0) -> Any:
        seen.extend(clips)
        standard = (pose - pose[0]) / standard_size(pose[None]) / 1000.0
        return scale * np.broadcast_to(standard, (*clips.shape[:2], 17, 3))

    test = read_motionbert(path)
    report = evaluate_h36m(LifterUnderTest(lift, "person", 2, is_mirrored=False), test, clip_frames=F)
    assert report.num_clips == 4
    assert report.mean["mpjpe_mm"] == pytest.approx(0, abs=1e-2)
    about = (pose - pose[0])[:, :2]
    ratios = seen[0][:, 1:] / about[1:]
    np.testing.assert_allclose(ratios, np.full_like(ratios, 1 / np.hypot(*np.ptp(pose[:, :2], axis=0))), rtol=1e-3)
    larger = LifterUnderTest(lambda clips: lift(clips, 1.1), "person", 2, is_mirrored=False)
    wanted = 0.1 * 4 * np.linalg.norm(pose - pose[0], axis=1).mean()
    assert evaluate_h36m(larger, test, clip_frames=F).mean["mpjpe_mm"] == pytest.approx(wanted, rel=1e-3)


def test_videos_without_whole_clips_only(tmp_path: Path) -> None:
    """Longer clips than any video: every one is stretched."""
    test = read_motionbert(motionbert(tmp_path / "h36m.pkl"))
    report = evaluate_h36m(image_lifter(), test, clip_frames=27)
    assert (report.num_clips, report.num_frames, report.num_unseen) == (3, 34, 0)
    assert report.mean["mpjpe_mm"] == pytest.approx(0, abs=2e-2)
    assert report.mean["mpjve_mm"] == pytest.approx(0, abs=2e-2)


# Human3.6M, VideoPose3D's files


def videopose3d(folder: Path, *, off_px: float = 0.0) -> tuple[Path, Path, dict[str, Any]]:
    """As VideoPose3D's; four cameras with lens distortion look at people who walk about. Also the truth in each camera's axes."""
    rng = np.random.default_rng(2)
    worlds: dict[str, Any] = {}
    pictures: dict[str, Any] = {}
    truths: dict[str, Any] = {}
    kept = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    for subject in ("S1", "S9", "S11"):
        worlds[subject], pictures[subject] = {}, {}
        cameras = []
        for k in range(4):
            where = np.array([[4, 4, 1.5], [4, -4, 1.6], [-4, 4, 1.4], [-4, -4, 1.5]][k]) + rng.normal(0, 0.2, 3)
            forward = np.array([0, 0, 0.9]) - where
            forward /= np.linalg.norm(forward)
            right = np.cross(forward, [0, 0, 1.0])
            right /= np.linalg.norm(right)
            cameras.append((np.stack([right, np.cross(forward, right), forward]), where))
        for action in ("Directions", "Directions 1", "Walking"):
            count = 40
            places = np.cumsum(rng.normal(0, 0.25, (count, 1, 3)), axis=0) * [1, 1, 0.02] + [0, 0, 0.9]
            world = (places + rng.normal(0, 0.35, (count, 32, 3))).astype(np.float32)
            worlds[subject][action] = world
            views = []
            for k, (rotation, where) in enumerate(cameras):
                seen = (world[:, kept].astype(np.float64) - where) @ rotation.T
                truths[f"{subject}/{action}/{k}"] = 1000 * (seen - seen[:, :1])
                matrix = np.array([[1145.0, 0, 512 + k], [0, 1144.0, 515 - k], [0, 0, 1]])
                lens = np.array([-0.2, 0.24, -0.001, -0.0014, -0.003])
                pixels = cv2.projectPoints(seen.reshape(-1, 3), np.zeros(3), np.zeros(3), matrix, lens)[0]
                pixels = pixels.reshape(count, 17, 2) + off_px * rng.normal(0, 1, (count, 17, 2))
                views.append(np.concatenate([pixels, pixels[-1:]]).astype(np.float32))  # an extra frame at the end
            pictures[subject][action] = views
    symmetry = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.array(worlds, object))
    metadata = {"num_joints": 17, "keypoints_symmetry": symmetry}
    np.savez_compressed(
        folder / "data_2d_h36m_gt.npz", positions_2d=np.array(pictures, object), metadata=np.array(metadata, object)
    )
    return folder / "data_3d_h36m.npz", folder / "data_2d_h36m_gt.npz", truths


def test_videopose3d_is_read_and_its_cameras_are_found(tmp_path: Path) -> None:
    path_3d, path_2d, truths = videopose3d(tmp_path)
    test = read_videopose3d(path_3d, path_2d)
    assert len(test) == 2 * 4 * 3 * 40
    assert test.factors is None
    assert test.video_names[0] == "S9/Directions/0"
    assert set(test.actions) == {"Directions", "Walking"}
    assert test.sizes_wh[0].tolist() == [1000, 1002]
    for video, name in enumerate(test.video_names):
        found = test.truth_mm[test.video_ids == video]
        assert np.abs(found - found[:, :1] - truths[name]).max() < 1.0
    with pytest.raises(ConfigError, match="pixels cannot be judged by VideoPose3D"):
        evaluate_h36m(image_lifter(), test, clip_frames=F)


def test_detections_have_no_camera(tmp_path: Path) -> None:
    path_3d, path_2d, _ = videopose3d(tmp_path, off_px=30.0)
    with pytest.raises(FormatError, match="S9, camera 0: no camera sees the points"):
        read_videopose3d(path_3d, path_2d)


def test_videopose3d_of_another_layout(tmp_path: Path) -> None:
    path_3d, path_2d, _ = videopose3d(tmp_path)
    with pytest.raises(FormatError, match="has no table 'positions_3d'"):
        read_videopose3d(path_2d, path_3d)
    np.savez(path_2d, positions_2d=np.array({"S9": {"Directions": [1, 2]}, "S11": {}}, object))
    with pytest.raises(FormatError, match="Directions: not a list of 4 cameras"):
        read_videopose3d(path_3d, path_2d)


# MPI-INF-3DHP


def mpi_file(path: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    """As P-STMO's: a table in an array of objects. Depths are in the pictures' x, so that a lifter can know them."""
    rng = np.random.default_rng(4)
    data: dict[str, Any] = {}
    for name, count in (("TS1", 12), ("TS5", 7), ("TS6", 4)):
        flat = rng.uniform(100, 1000, (count, 17, 2))
        solid = np.concatenate([flat, flat[..., :1] + 3000.0], axis=-1)
        valid = np.ones(count)
        valid[[0, 3]] = 0
        if name == "TS6":
            valid[:] = 0
        data[name] = {"data_2d": flat, "data_3d": solid, "valid": valid}
    data["TS1"] |= changes
    np.savez_compressed(path, data=np.array(data, object))
    return path, data


def x_is_depth(offset: float = 0.0) -> LifterUnderTest:
    def lift(clips: Any) -> Any:
        about = clips - clips[..., :1, :]
        found = np.concatenate([about, about[..., :1]], axis=-1)
        found[..., LEFT_KNEE, 1] += offset
        return found

    return LifterUnderTest(lift, "image", 2, is_mirrored=False, batch_size=4)


def test_the_order_of_joints_is_the_data_sets() -> None:
    renamed = {"pelvis": "root", "neck": "thorax", "head": "neck", "head_top": "head"}
    names = [renamed.get(mpi.JOINT_NAMES[i], mpi.JOINT_NAMES[i]) for i in mpi.TO_H36M]
    assert names == list(H36M17.joint_names)
    assert sorted(mpi.TO_H36M) == list(range(17))


def test_mpi_inf_3dhp_with_a_perfect_lifter(tmp_path: Path) -> None:
    path, _ = mpi_file(tmp_path / "data_test_3dhp.npz")
    sequences = mpi.read_mpi_inf_3dhp(path)
    assert [s.size_wh for s in sequences] == [(2048, 2048), (1920, 1080), (1920, 1080)]
    told: list[tuple[int, int]] = []
    report = mpi.evaluate_mpi_inf_3dhp(x_is_depth(), sequences, clip_frames=5, progress=lambda *n: told.append(n))
    assert told[-1] == (15, 15)
    assert list(report.per_sequence) == ["TS1", "TS5"]
    assert report.pooled["frames"] == 15
    assert report.pooled["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert report.pooled["pck_150"] == 100
    assert report.to_json()["per_sequence"]["TS5"]["frames"] == 5


def test_mpi_inf_3dhp_with_a_known_error(tmp_path: Path) -> None:
    """0.2 half widths are 204.8 mm in TS1 and 192 mm in TS5: one joint of 17, and one of the 14 of PCK, is far off."""
    sequences = mpi.read_mpi_inf_3dhp(mpi_file(tmp_path / "data_test_3dhp.npz")[0])
    report = mpi.evaluate_mpi_inf_3dhp(x_is_depth(0.2), sequences, clip_frames=5)
    assert report.per_sequence["TS1"]["mpjpe_mm"] == pytest.approx(204.8 / 17, rel=1e-4)
    assert report.per_sequence["TS5"]["mpjpe_mm"] == pytest.approx(192 / 17, rel=1e-4)
    assert report.pooled["mpjpe_mm"] == pytest.approx((10 * 204.8 + 5 * 192) / 15 / 17, rel=1e-4)
    assert report.pooled["pck_150"] == pytest.approx(100 * 13 / 14)
    assert report.pooled["per_joint_mm"][mpi.JOINT_NAMES.index("left_knee")] > 190
    # exact joints are right at 30 of 31 limits, but for rounding of 32-bit pixels, which is far below 5 mm
    assert report.pooled["auc"] == pytest.approx(100 * 30 / 31 * 13 / 14)


def test_each_frame_is_the_middle_of_its_clip(tmp_path: Path) -> None:
    path, data = mpi_file(tmp_path / "data_test_3dhp.npz")
    (first, *_) = mpi.read_mpi_inf_3dhp(path)
    seen: list[Any] = []

    def lift(clips: Any) -> Any:
        seen.extend(clips)
        return np.zeros((*clips.shape[:3], 3), np.float32)

    lifter = LifterUnderTest(lift, "image", 2, is_mirrored=False, batch_size=3)
    report = mpi.evaluate_mpi_inf_3dhp(lifter, (first,), clip_frames=5)
    own = data["TS1"]["data_2d"][:, list(mpi.TO_H36M)] / 1024 - 1
    np.testing.assert_allclose(seen[0], own[[0, 0, 1, 2, 3]], atol=1e-5)  # of frame 1, the first valid one
    np.testing.assert_allclose(seen[-1], own[[9, 10, 11, 11, 11]], atol=1e-5)
    assert len(seen) == 10
    truth = data["TS1"]["data_3d"][data["TS1"]["valid"] > 0]
    truth = truth - truth[:, mpi.ROOT : mpi.ROOT + 1]
    wanted = joints_report(np.zeros_like(truth), truth, pck_joints=range(14))
    assert report.pooled["mpjpe_mm"] == pytest.approx(wanted["mpjpe_mm"], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data_2d": np.zeros((12, 16, 2))}, r"TS1: data_2d is not an array of \('frames', 17, 2\)"),
        ({"data_3d": [1, 2]}, "TS1: data_3d"),
        ({"valid": np.ones(3)}, "not of as many frames"),
    ],
)
def test_mpi_inf_3dhp_of_another_layout(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        mpi.read_mpi_inf_3dhp(mpi_file(tmp_path / "data_test_3dhp.npz", **changes)[0])


def test_mpi_inf_3dhp_needs_a_middle_and_a_valid_frame(tmp_path: Path) -> None:
    sequences = mpi.read_mpi_inf_3dhp(mpi_file(tmp_path / "data_test_3dhp.npz")[0])
    with pytest.raises(ConfigError, match="4 frames have no middle"):
        mpi.evaluate_mpi_inf_3dhp(x_is_depth(), sequences, clip_frames=4)
    with pytest.raises(ConfigError, match="no frame"):
        mpi.evaluate_mpi_inf_3dhp(x_is_depth(), sequences[2:], clip_frames=5)
    np.savez(tmp_path / "other.npz", data=np.zeros(3))
    with pytest.raises(FormatError, match="has no table 'data'"):
        mpi.read_mpi_inf_3dhp(tmp_path / "other.npz")
