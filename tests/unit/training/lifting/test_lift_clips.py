"""Cameras, clips drawn for training, and the fixed clips to measure on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.lifting.rays import facing_rotations, turned
from posecli.skeletons import H36M17, STANDARD_BONES_MM
from posecli.training.lifting.bones import bone_lengths, rebuild_trunk
from posecli.training.lifting.cameras import Camera, CameraSettings, look_at, random_camera
from posecli.training.lifting.clips import (
    ClipSettings,
    LiftClips,
    batch,
    held_out_clips,
    mirror,
    seen_by,
    window_starts,
)
from posecli.training.lifting.mocap import MotionSequence
from posecli.training.lifting.noise import NoiseModel

REST = np.array(
    [
        *[(0, 900, 0), (-100, 900, 0), (-100, 480, 0), (-100, 70, 0), (100, 900, 0), (100, 480, 0), (100, 70, 0)],
        *[(0, 1150, 0), (0, 1400, 0), (0, 1500, 0), (0, 1600, 0)],
        *[(170, 1400, 0), (170, 1130, 0), (170, 890, 0), (-170, 1400, 0), (-170, 1130, 0), (-170, 890, 0)],
    ],
    np.float32,
)


def floats(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def sequence(frames: int, name: str = "act__walk") -> MotionSequence:
    """Somebody who walks two metres a second and sways the arms."""
    joints = np.tile(REST, (frames, 1, 1))
    time = np.arange(frames, dtype=np.float32)
    joints[..., 2] += time[:, None] * 66
    joints[:, [12, 13], 2] += 150 * np.sin(time / 4)[:, None]
    scale = STANDARD_BONES_MM / bone_lengths(joints).sum()
    return MotionSequence(name, rebuild_trunk(joints) * np.float32(scale), 30.0)


def camera(**changes: object) -> Camera:
    """Four metres in front of the origin, one metre up, upright; focal length 100 px, centre (49.5, 39.5)."""
    rotations = look_at(np.array([[0.0, 1000, 4000]]), np.array([[0.0, 1000, 0]]))
    made = {"rotations": rotations, "positions_mm": floats([[0, 1000, 4000]]), "focal_px": 100.0}
    made |= {"centre_px": floats([49.5, 39.5]), "size_wh": (100, 80)} | changes
    return Camera(**made)  # type: ignore[arg-type]


def test_a_projection_by_hand() -> None:
    places = floats([[[0, 1000, 0], [1000, 1000, 0], [0, 2000, 0], [1000, 1000, 2000], [0, 1000, 3999]]])
    assert camera().to_camera(places)[0, :4] == pytest.approx(
        floats([[0, 0, 4000], [1000, 0, 4000], [0, -1000, 4000], [1000, 0, 2000]])
    )
    seen = camera().project(places)[0]
    assert seen[:4] == pytest.approx(floats([[49.5, 39.5], [74.5, 39.5], [49.5, 14.5], [99.5, 39.5]]))
    assert np.isfinite(seen).all()


def test_a_rolled_camera_turns_the_picture() -> None:
    rolled = look_at(np.array([[0.0, 1000, 4000]]), np.array([[0.0, 1000, 0]]), roll_deg=90.0)
    above = camera(rotations=rolled).to_camera(floats([[[0, 2000, 0]]]))
    assert above[0, 0] == pytest.approx([-1000, 0, 4000], abs=0.01)
    assert rolled[0] @ rolled[0].T == pytest.approx(np.eye(3), abs=1e-6)


def test_what_a_camera_is_shifted_to_is_in_the_middle() -> None:
    turned = look_at(np.array([[0.0, 1000, 4000]]), np.array([[0.0, 1000, 0]]), shift_mm=np.array([300.0, 200.0]))
    point = camera(rotations=turned).project(floats([[[300, 800, 0]]]))
    assert point[0, 0] == pytest.approx([49.5, 39.5], abs=1e-3)


def test_every_frame_may_have_its_own_camera() -> None:
    moving = floats([[0, 1000, 4000], [500, 1000, 4000]])
    rotations = look_at(moving, moving - floats([0, 0, 4000]))
    seen = camera(rotations=rotations, positions_mm=moving).project(np.zeros((2, 1, 3), np.float32))
    assert seen[1, 0] - seen[0, 0] == pytest.approx([-12.5, 0])


def test_random_cameras_see_the_person_from_many_sides_and_keep_their_distance() -> None:
    joints = sequence(60).joints_mm
    fills, azimuths, inside = [], [], []
    for seed in range(150):
        view = random_camera(np.random.default_rng(seed), joints, CameraSettings(share_close=0.0))
        assert np.abs(view.rotations @ np.swapaxes(view.rotations, 1, 2) - np.eye(3)).max() < 1e-5
        seen = view.to_camera(joints)
        assert seen[..., 2].min() > 300
        px = view.project(joints)
        fills.append(np.ptp(px[..., 1], axis=1).max() / view.size_wh[1])
        inside.append(((px > 0) & (px < view.size_wh)).all(axis=-1).mean())
        away = view.positions_mm[0] - joints[:, 0].mean(axis=0)
        azimuths.append(np.arctan2(away[0], away[2]))
        assert len(view.rotations) in (1, 60)
    assert 0.1 < np.percentile(fills, 5) < max(fills) < 1.0
    assert np.mean(inside) > 0.9
    assert min(np.histogram(azimuths, bins=4, range=(-np.pi, np.pi))[0]) > 15


def test_close_cameras_cut_people_off() -> None:
    joints = sequence(20).joints_mm
    views = [random_camera(np.random.default_rng(seed), joints, CameraSettings(share_close=1.0)) for seed in range(20)]
    outside = [
        ((view.project(joints) < 0) | (view.project(joints) > view.size_wh)).any(axis=-1).mean() for view in views
    ]
    assert np.mean(outside) > 0.1
    assert min(view.to_camera(joints)[..., 2].min() for view in views) > 300


def test_a_following_camera_keeps_the_person_where_it_is() -> None:
    joints = sequence(120).joints_mm
    settings = CameraSettings(share_panning=0.0, share_following=1.0)
    view = random_camera(np.random.default_rng(1), joints, settings)
    root = view.project(joints)[20:-20, 0]
    assert np.ptp(root, axis=0).max() < 0.05 * max(view.size_wh)
    assert np.ptp(view.positions_mm, axis=0).max() > 5000


def test_mirroring_twice_changes_nothing_and_once_exchanges_sides() -> None:
    joints = np.random.default_rng(0).normal(size=(4, 17, 3)).astype(np.float32)
    for each in (joints, joints[..., :2]):
        assert np.array_equal(mirror(mirror(each)), each)
    left, right = H36M17.joint_names.index("left_wrist"), H36M17.joint_names.index("right_wrist")
    assert mirror(joints)[:, left] == pytest.approx(joints[:, right] * floats([-1, 1, 1]))
    assert mirror(joints)[:, 0] == pytest.approx(joints[:, 0] * floats([-1, 1, 1]))


def test_the_mirrored_picture_is_the_picture_of_the_mirrored_body() -> None:
    joints = sequence(5).joints_mm
    centred = camera(centre_px=np.zeros(2, np.float32))
    assert mirror(centred.project(joints)) == pytest.approx(centred.project(mirror(joints)), abs=1e-3)


def test_a_sample_is_what_its_camera_saw() -> None:
    sample = LiftClips([sequence(200)], 27).sample(3)
    assert sample.joints_px.shape == (27, 17, 2)
    assert sample.scores.shape == (27, 17)
    assert sample.target_mm.shape == (27, 17, 3)
    assert np.all(sample.target_mm[:, 0] == 0)
    assert bone_lengths(sample.target_mm).sum() == pytest.approx(STANDARD_BONES_MM, rel=1e-3)
    seen = turned(sample.target_mm, facing_rotations(sample.root_mm).swapaxes(1, 2)) + sample.root_mm[:, None]
    centre = (np.array(sample.size_wh) - 1) / 2
    px = seen[..., :2] / seen[..., 2:] * sample.focal_px + centre
    assert rebuild_trunk(px.astype(np.float32)) == pytest.approx(sample.joints_px, abs=0.01)
    # y points down: the head is above the root
    assert sample.target_mm[:, 10, 1].max() < 0


def test_samples_depend_on_their_number_and_seed_only() -> None:
    clips = LiftClips([sequence(200), sequence(90, "act__other")], 27, seed=5, noise=NoiseModel())
    again = LiftClips([sequence(200), sequence(90, "act__other")], 27, seed=5, noise=NoiseModel())
    later = [again.sample(number) for number in (9, 4)][1]
    assert np.array_equal(clips.sample(4).joints_px, later.joints_px, equal_nan=True)
    assert np.array_equal(clips.sample(4).target_mm, later.target_mm)
    assert not np.array_equal(clips.sample(5).target_mm, later.target_mm)
    other = LiftClips([sequence(200), sequence(90, "act__other")], 27, seed=6, noise=NoiseModel())
    assert not np.array_equal(other.sample(4).target_mm, later.target_mm)


def test_bones_keep_their_length_through_a_clip() -> None:
    sample = LiftClips([sequence(200)], 81, settings=ClipSettings(typical=0.0)).sample(0)
    for parent, joint in H36M17.bones[:3]:
        assert np.ptp(np.linalg.norm(sample.target_mm[:, joint] - sample.target_mm[:, parent], axis=-1)) < 0.5


def test_bodies_differ_from_clip_to_clip_by_as_much_as_asked() -> None:
    clips = LiftClips([sequence(200)], 9, settings=ClipSettings(typical=0.0, bones=0.05))
    thighs = [bone_lengths(clips.sample(number).target_mm)[1] for number in range(150)]
    assert 0.02 < np.std(thighs) / np.mean(thighs) < 0.06
    fixed = LiftClips([sequence(200)], 9, settings=ClipSettings(typical=0.0, bones=0.0))
    rigid = bone_lengths(fixed.sample(0).target_mm)[:9]
    assert rigid == pytest.approx(bone_lengths(sequence(200).joints_mm)[:9], rel=0.02)


def test_a_short_recording_runs_to_and_fro_without_a_jump() -> None:
    clips = LiftClips(
        [sequence(20)], 81, settings=ClipSettings(cameras=CameraSettings(share_panning=0, share_following=0))
    )
    for number in range(10):
        root = clips.sample(number).root_mm
        assert np.linalg.norm(np.diff(root, axis=0), axis=-1).max() < 66 * 1.4 * 1.3
        assert np.ptp(root, axis=0).max() > 300


def test_long_recordings_are_drawn_more_often() -> None:
    clips = LiftClips([sequence(300, "long"), sequence(100, "short")], 2)
    names = [clips.sample(number).name for number in range(200)]
    assert 120 < names.count("long") < 180


def test_a_batch_is_what_the_network_takes() -> None:
    clips = LiftClips([sequence(200)], 27, noise=NoiseModel())
    made = clips.batch(4, 3)
    assert made.inputs.shape == made.targets_m.shape == (3, 27, 17, 3)
    assert made.inputs.dtype == made.targets_m.dtype == np.float32
    assert made.targets_m[1] * 1000 == pytest.approx(clips.sample(5).target_mm, abs=1e-2)
    assert np.isfinite(made.inputs).all()
    assert clips.batch(0, 2, num_frames=9).inputs.shape == (2, 9, 17, 3)
    with pytest.raises(ConfigError, match="one length"):
        batch([clips.sample(0), clips.sample(1, 9)])


def test_nothing_to_draw_from_is_said() -> None:
    with pytest.raises(ConfigError, match="0 recordings"):
        LiftClips([], 27)


def test_windows_do_not_overlap_and_rests_too_short_are_left_out() -> None:
    assert window_starts(200, 81) == [0, 81, 162]
    assert window_starts(170, 81) == [0, 81]
    assert window_starts(30, 81) == [0]


def test_clips_to_measure_on_are_fixed() -> None:
    sequences = [sequence(100, "act__a"), sequence(40, "act__b")]
    clips = held_out_clips(sequences, 81)
    assert [len(clip) for clip in clips] == [81] * 3 + [40] * 3
    assert [clip.name for clip in clips] == ["act__a"] * 3 + ["act__b"] * 3
    # leaving one out does not change the other; own speed and own proportions
    alone = held_out_clips(sequences[1:], 81)
    assert np.array_equal(alone[0].joints_px, clips[3].joints_px)
    assert not np.array_equal(clips[3].joints_px, clips[4].joints_px)
    assert bone_lengths(clips[0].target_mm) == pytest.approx(bone_lengths(sequences[0].joints_mm), rel=1e-3)
    assert np.all(clips[0].scores == 1)
    noisy = held_out_clips(sequences, 81, noise=NoiseModel())
    assert np.array_equal(noisy[0].target_mm, clips[0].target_mm)
    assert not np.array_equal(noisy[0].joints_px, clips[0].joints_px, equal_nan=True)


def test_the_trunk_of_a_picture_is_made_of_its_limbs() -> None:
    sample = seen_by(camera(), sequence(3).joints_mm, "x")
    assert rebuild_trunk(sample.joints_px) == pytest.approx(sample.joints_px)
