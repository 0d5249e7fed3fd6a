"""The lifter around its network: a fake network with a known answer shows that nothing else changes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from posecli.errors import ConfigError, DeviceError, WeightsError
from posecli.lifting.bones import bone_lengths
from posecli.lifting.checkpoint import save_lifter_network
from posecli.lifting.config import LiftConfig
from posecli.lifting.lifter import Lifter
from posecli.lifting.network import PoseMamba
from posecli.records import PoseSequence, PoseSequence3D
from posecli.skeletons import STANDARD_BONES_MM, get_skeleton

SIZE = {"width_px": 1280, "height_px": 720}
PERSON = LiftConfig(16, 1, in_channels=3, max_frames=27, normalisation="person")
IMAGE = LiftConfig(16, 1, in_channels=2, max_frames=27, normalisation="image")
SYMMETRIC = {"is_mirrored": True, "has_steady_bones": False}


class FlatNetwork:
    """Answers what it was asked, flat: x and y of the input and depth 0; and notes the clips it was given."""

    def __init__(self, config: LiftConfig) -> None:
        self.config = config
        self.clips: list[Tensor] = []

    def __call__(self, joints: Tensor, /) -> Tensor:
        self.clips.append(joints)
        return torch.cat([joints[..., :2], torch.zeros_like(joints[..., :1])], dim=-1)


def walking(num_frames: int, skeleton: str = "posecli19") -> PoseSequence:
    """A body that moves over the picture and keeps its extent; its hands wave."""
    count = len(get_skeleton(skeleton))
    rng = np.random.default_rng(0)
    body = rng.uniform(-50, 50, (count, 2))
    body[5:7, 1], body[15:17, 1] = -120, 160
    time = np.arange(num_frames)[:, None, None]
    points = body + [300, 350] + time * [1.5, 0.0] + np.zeros((num_frames, count, 2))
    points[:, 9:11, 0] += 10 * np.sin(time[:, :, 0] / 5)
    seen = points.astype(np.float32)
    return PoseSequence(
        track_id=4,
        skeleton=skeleton,
        frame_indices=np.arange(num_frames, dtype=np.int64),
        keypoints=seen,
        raw_keypoints=seen,
        scores=np.full((num_frames, count), 0.9, np.float32),
        boxes=np.zeros((num_frames, 4), np.float32),
        box_scores=np.ones(num_frames, np.float32),
        interpolated=np.zeros(num_frames, np.bool_),
    )


def rows(pose: PoseSequence, kept: np.ndarray) -> PoseSequence:
    names = ("frame_indices", "keypoints", "raw_keypoints", "scores", "boxes", "box_scores", "interpolated")
    return replace(pose, **{name: getattr(pose, name)[kept] for name in names})


def expected_flat(pose: PoseSequence) -> np.ndarray:
    """(T, 2): the right ankle from the root, over the 90th percentile of the diagonal, in mm of the standard body."""
    points = pose.keypoints
    root = points[:, 11:13].mean(axis=1)
    shown = np.concatenate([points[:, 5:17], points[:, 3:5].mean(axis=1, keepdims=True)], axis=1)
    diagonal = np.linalg.norm(np.ptp(shown, axis=1), axis=-1)
    return 1000 * (points[:, 16] - root) / np.percentile(diagonal, 90)


def faced(lifted: PoseSequence3D, pose: PoseSequence) -> np.ndarray:
    """(T, 17, 3): the poses as a camera sees them that looks straight at the root, from those of a camera of 55 degrees."""
    root = pose.keypoints[:, 11:13].mean(axis=1)
    focal = 640 / np.tan(np.deg2rad(27.5))
    rays = np.concatenate([(root - [639.5, 359.5]) / focal, np.ones((len(root), 1))], axis=1)
    axes = np.cross(rays, [0, 0, 1])
    angles = np.arccos(1 / np.linalg.norm(rays, axis=1, keepdims=True))
    turns = Rotation.from_rotvec(angles * axes / np.linalg.norm(axes, axis=1, keepdims=True))
    return np.stack([turn.apply(joints) for turn, joints in zip(turns, lifted.joints_mm, strict=True)])


@pytest.mark.parametrize("num_frames", [1, 5, 27])
def test_a_short_track_is_one_clip_and_its_answer_is_kept(num_frames: int) -> None:
    network, pose = FlatNetwork(PERSON), walking(num_frames)
    lifted = Lifter(network, is_mirrored=False, has_steady_bones=False).lift(pose, np.arange(num_frames) / 30, **SIZE)
    assert [tuple(clip.shape) for clip in network.clips] == [(1, num_frames, 17, 3)]
    assert (lifted.track_id, lifted.skeleton) == (4, "h36m17")
    assert np.array_equal(lifted.frame_indices, pose.frame_indices)
    assert (lifted.joints_mm[:, 0] == 0.0).all()
    assert np.abs(faced(lifted, pose)[:, 3, :2] - expected_flat(pose)).max() < 0.01
    assert np.abs(faced(lifted, pose)[..., 2]).max() < 0.01
    assert np.allclose(lifted.scores, 0.9)


def test_a_long_track_is_windows_that_overlap_and_leave_no_seam() -> None:
    network, pose = FlatNetwork(PERSON), walking(100)
    lifted = Lifter(network, is_mirrored=False, has_steady_bones=False).lift(pose, np.arange(100) / 30, **SIZE)
    assert [clip.shape[1] for clip in network.clips] == [27] * 5
    # windows see different extents of the waving hands, so they differ by a per mille
    steps = np.linalg.norm(np.diff(faced(lifted, pose)[:, 3, :2], axis=0), axis=-1)
    assert steps.max() < 2.0
    assert np.abs(faced(lifted, pose)[:, 3, :2] - expected_flat(pose)).max() < 5.0


def test_batches_do_not_change_the_answer() -> None:
    pose, time_s = walking(100), np.arange(100) / 30
    one = Lifter(FlatNetwork(PERSON), is_mirrored=True).lift(pose, time_s, **SIZE)
    network = FlatNetwork(PERSON)
    three = Lifter(network, is_mirrored=True, batch_size=3).lift(pose, time_s, **SIZE)
    assert [len(clip) for clip in network.clips] == [3, 3, 2, 2]
    assert np.array_equal(one.joints_mm, three.joints_mm)


def test_the_mirrored_clip_has_left_and_right_exchanged_and_so_has_its_answer() -> None:
    """A network that leans everything to the right: the lean cancels, what is symmetric stays."""

    class Leaning(FlatNetwork):
        def __call__(self, joints: Tensor, /) -> Tensor:
            answer = super().__call__(joints)
            answer[..., 1:, 0] += 0.1  # everything but the root
            answer[:, :, 1:4, 2] += 0.3  # and the right leg back
            return answer

    network, pose = Leaning(PERSON), walking(10)
    lifted = Lifter(network, is_mirrored=True, has_steady_bones=False).lift(pose, np.arange(10) / 30, **SIZE)
    straight, mirrored = network.clips
    assert torch.equal(mirrored[..., 3, 0], -straight[..., 6, 0])
    assert torch.equal(mirrored[..., 3, 1:], straight[..., 6, 1:])
    joints = faced(lifted, pose)
    assert np.abs(joints[:, 3, :2] - expected_flat(pose)).max() < 0.01
    assert np.abs(joints[:, 1:7, 2] - 150.0).max() < 0.01
    assert np.abs(joints[:, 7:, 2]).max() < 0.01


def test_height_scales_and_bones_are_steady() -> None:
    pose, time_s = walking(60), np.arange(60) / 30
    free = Lifter(FlatNetwork(PERSON), has_steady_bones=False).lift(pose, time_s, **SIZE)
    tall = Lifter(FlatNetwork(PERSON), has_steady_bones=False, height_cm=187.0).lift(pose, time_s, **SIZE)
    steady = Lifter(FlatNetwork(PERSON)).lift(pose, time_s, **SIZE)
    assert np.abs(tall.joints_mm - 1.1 * free.joints_mm).max() < 0.01
    assert np.ptp(bone_lengths(free.joints_mm), axis=0).max() > 5.0
    assert np.ptp(bone_lengths(steady.joints_mm), axis=0).max() < 0.01


def test_a_long_absence_is_not_lifted_and_a_short_one_is_bridged() -> None:
    pose, time_s = walking(80), np.arange(80) / 30
    pose.keypoints[30:45] = np.nan
    pose = rows(pose, np.delete(np.arange(80), [*range(10, 14)]))
    network = FlatNetwork(PERSON)
    lifted = Lifter(network, is_mirrored=False).lift(pose, time_s, **SIZE)
    assert [clip.shape[1] for clip in network.clips] == [27, 27, 27, 27]  # 30 frames, 35 frames
    is_missing = np.isnan(lifted.joints_mm).all(axis=(1, 2))
    assert pose.frame_indices[is_missing].tolist() == list(range(30, 45))
    assert np.isfinite(lifted.joints_mm[~is_missing]).all()
    assert (lifted.scores[is_missing] == 0.0).all()
    assert np.isnan(lifted.root_mm[is_missing]).all()


def test_a_joint_that_is_never_seen_is_the_networks_guess_with_score_0() -> None:
    pose = walking(20)
    pose.scores[:, 16] = 0.0
    network = FlatNetwork(PERSON)
    lifted = Lifter(network, is_mirrored=False, has_steady_bones=False).lift(pose, np.arange(20) / 30, **SIZE)
    assert (network.clips[0][..., 3, :] == 0.0).all()
    assert np.isfinite(lifted.joints_mm).all()
    assert (lifted.scores[:, 3] == 0.0).all()
    assert (lifted.scores[:, 2] > 0.8).all()


@pytest.mark.parametrize(("fps", "num_samples"), [(30, 41), (60, 21), (120, 11), (10, 121)])
def test_other_paces_are_resampled_and_come_back(fps: int, num_samples: int) -> None:
    network, pose = FlatNetwork(replace(PERSON, max_frames=243)), walking(41)
    lifted = Lifter(network, is_mirrored=False, has_steady_bones=False).lift(pose, np.arange(41) / fps, **SIZE)
    assert network.clips[0].shape[1] == num_samples
    assert np.abs(faced(lifted, pose)[:, 3, :2] - expected_flat(pose)).max() < 5.0


def test_the_authors_networks_see_the_picture_the_nose_and_the_head_top() -> None:
    network, pose = FlatNetwork(IMAGE), walking(20)
    lifted = Lifter(network, is_mirrored=False).lift(pose, np.arange(20) / 50, **SIZE)
    clip = network.clips[0][0].numpy()
    assert clip.shape == (20, 17, 2)
    for joint, keypoint in ((3, 16), (9, 0), (10, 18)):
        x, y = pose.keypoints[:, keypoint].T
        assert np.allclose(clip[:, joint], np.stack([x / 640 - 1, y / 640 - 720 / 1280], axis=1), atol=1e-6)
    assert np.abs(bone_lengths(lifted.joints_mm).sum(axis=1) - STANDARD_BONES_MM).max() < 0.05 * STANDARD_BONES_MM
    free = Lifter(FlatNetwork(IMAGE), has_steady_bones=False).lift(pose, np.arange(20) / 50, **SIZE)
    assert np.abs(bone_lengths(free.joints_mm).sum(axis=1) - STANDARD_BONES_MM).max() < 0.1


def test_the_authors_networks_never_see_a_missing_joint() -> None:
    pose = walking(20, "coco17")
    pose.scores[:5, 16] = 0.0
    pose.keypoints[:, 15] = np.nan
    network = FlatNetwork(IMAGE)
    Lifter(network, is_mirrored=False).lift(pose, np.arange(20) / 50, **SIZE)
    clip = network.clips[0][0].numpy()
    assert np.isfinite(clip).all()
    assert (clip[:5, 3] == clip[5, 3]).all()
    assert np.array_equal(clip[:, 6], clip[:, 0])


def test_a_person_whose_size_is_right_is_found_where_he_stands() -> None:
    """With a network that knows the truth, depth follows from the size on the picture."""
    pose = walking(30)
    near = Lifter(FlatNetwork(PERSON)).lift(pose, np.arange(30) / 30, **SIZE)
    pose.keypoints[...] = (pose.keypoints - [640, 360]) / 2 + [640, 360]
    far = Lifter(FlatNetwork(PERSON)).lift(pose, np.arange(30) / 30, **SIZE)
    assert np.abs(far.root_mm[:, 2] / near.root_mm[:, 2] - 2).max() < 0.01


def test_real_weights_lift_and_say_so(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    sha256 = save_lifter_network(path, PoseMamba(PERSON).state_dict(), PERSON, metadata={})
    lifter = Lifter.load(path, height_cm=180.0)
    lifted = lifter.lift(walking(40), np.arange(40) / 30, **SIZE)
    assert np.isfinite(lifted.joints_mm).all()
    facts = lifter.facts()
    assert (facts["sha256"], facts["height_cm"], facts["scan"]) == (sha256, 180.0, "cpu")
    again = Lifter.load(path, height_cm=180.0).lift(walking(40), np.arange(40) / 30, **SIZE)
    assert np.array_equal(lifted.joints_mm, again.joints_mm)


def test_what_cannot_be_is_refused(tmp_path: Path, tiny_weights: Path) -> None:
    with pytest.raises(ConfigError, match="height is 17 cm"):
        Lifter(FlatNetwork(PERSON), height_cm=17.0)
    with pytest.raises(ConfigError, match="field of view is 0 degrees"):
        Lifter(FlatNetwork(PERSON), fov_deg=0.0)
    with pytest.raises(WeightsError, match="kind 'pose', not 'lifting'"):
        Lifter.load(tiny_weights)
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="'cuda' is not available"):
            Lifter(FlatNetwork(PERSON), device="cuda")
