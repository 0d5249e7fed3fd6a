"""Recordings become one definition of joints, one size, and one floor; what is held out stays out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posecli.errors import FormatError
from posecli.skeletons import H36M17, STANDARD_BONES_MM
from posecli.training.lifting.bones import (
    GROUP_NAMES,
    GROUPS,
    bone_lengths,
    group_lengths,
    rebuild_trunk,
    standard_scale,
    with_proportions,
)
from posecli.training.lifting.held_out import HELD_OUT, HELD_OUT_MOTIONS
from posecli.training.lifting.mocap import find_fault, read_mocap
from posecli.training.synthetic.split import TEST_MOTIONS

INDEX = {name: i for i, name in enumerate(H36M17.joint_names)}


def floats(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def standing(frames: int = 40) -> np.ndarray:
    """(T, 17, 3): somebody of 3,400 mm of bones who walks along z, arms hanging, and swings the left leg."""
    joints = np.zeros((frames, 17, 3), np.float32)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for name, (x, y) in {
            "hip": (100, 800),
            "knee": (100, 430),
            "ankle": (100, 60),
            "shoulder": (150, 1220),
            "elbow": (150, 1000),
            "wrist": (150, 790),
        }.items():
            joints[:, INDEX[f"{side}_{name}"]] = (sign * x, y, 0)
    joints[:, INDEX["head"]] = (0, 1400, 20)
    swing = 0.4 * np.sin(np.arange(frames) / 5)
    for name, length in (("knee", 370), ("ankle", 740)):
        joints[:, INDEX[f"left_{name}"], 1] = 800 - length * np.cos(swing)
        joints[:, INDEX[f"left_{name}"], 2] = length * np.sin(swing)
    joints[..., 2] += np.arange(frames)[:, None] * 20.0
    joints[..., 0] += 500.0
    return rebuild_trunk(joints)


def test_the_trunk_is_made_of_what_it_lies_between() -> None:
    joints = np.random.default_rng(0).normal(size=(3, 17, 3)).astype(np.float32)
    made = rebuild_trunk(joints)
    hips = (joints[:, INDEX["left_hip"]] + joints[:, INDEX["right_hip"]]) / 2
    shoulders = (joints[:, INDEX["left_shoulder"]] + joints[:, INDEX["right_shoulder"]]) / 2
    assert made[:, INDEX["root"]] == pytest.approx(hips)
    assert made[:, INDEX["thorax"]] == pytest.approx(shoulders)
    assert made[:, INDEX["spine"]] == pytest.approx((hips + shoulders) / 2)
    assert made[:, INDEX["neck"]] == pytest.approx((shoulders + joints[:, INDEX["head"]]) / 2)
    limbs = [i for name, i in INDEX.items() if name.startswith(("left", "right")) or name == "head"]
    assert np.array_equal(made[:, limbs], joints[:, limbs])


def test_bones_that_meet_in_a_middle_change_together() -> None:
    group = {name: GROUP_NAMES[GROUPS[i]] for i, name in enumerate(H36M17.joint_names[1:])}
    assert group["thorax"] == group["spine"] == "spine"
    assert group["head"] == group["neck"] == "neck"
    assert group["left_elbow"] == group["right_elbow"] == "elbow"
    assert group["left_hip"] == "hip"


def test_lengths_by_hand() -> None:
    lengths = dict(zip(GROUP_NAMES, group_lengths(standing()), strict=True))
    assert lengths["hip"] == pytest.approx(100)
    assert lengths["knee"] == lengths["ankle"] == pytest.approx(370, abs=0.1)
    assert lengths["spine"] == pytest.approx(210)
    assert lengths["neck"] == pytest.approx(np.hypot(180, 20) / 2)
    assert standard_scale(standing() * 2) == pytest.approx(standard_scale(standing()) / 2)


def test_a_changed_body_has_the_lengths_asked_for_and_they_stay() -> None:
    joints = standing()
    factors = np.linspace(0.8, 1.2, len(GROUP_NAMES))
    changed = with_proportions(joints, factors)
    wanted = bone_lengths(joints) * factors[GROUPS]
    assert bone_lengths(changed) == pytest.approx(wanted * STANDARD_BONES_MM / wanted.sum(), rel=1e-4)
    each = np.linalg.norm(changed[:, INDEX["left_ankle"]] - changed[:, INDEX["left_knee"]], axis=-1)
    assert np.ptp(each) < 0.05
    assert rebuild_trunk(changed) == pytest.approx(changed, abs=0.05)  # the middles are still middles


def test_longer_legs_stand_on_the_same_floor_and_take_longer_steps() -> None:
    joints = standing()
    joints[..., 1] -= 60.0  # ankles on the floor itself
    factors = np.where([name in {"knee", "ankle"} for name in GROUP_NAMES], 1.3, 1.0)
    changed = with_proportions(joints, factors)
    scale = STANDARD_BONES_MM / (bone_lengths(joints) * factors[GROUPS]).sum()
    assert changed[:, INDEX["right_ankle"], 1] == pytest.approx(np.zeros(40), abs=0.1)
    assert np.diff(changed[:, 0, 2]) == pytest.approx(np.full(39, 20 * 1.3 * scale), rel=1e-3)


def write(path: Path, **sequences: np.ndarray) -> Path:
    arrays: dict[str, Any] = {name: joints.round().astype(np.int16) for name, joints in sequences.items()}
    np.savez(path, **arrays)
    return path


def test_recordings_are_read_at_one_size_on_one_floor(tmp_path: Path) -> None:
    low = standing() - floats([0, 300, 0])
    mocap = read_mocap(write(tmp_path / "m.npz", act__low=low, act__small=standing() * 0.5))
    assert [sequence.name for sequence in mocap.sequences] == ["act__low", "act__small"]
    for sequence in mocap.sequences:
        assert bone_lengths(sequence.joints_mm).sum() == pytest.approx(STANDARD_BONES_MM, rel=1e-3)
        assert np.median(sequence.joints_mm[..., 1].min(axis=1)) == pytest.approx(70, abs=3)
        assert sequence.joints_mm.dtype == np.float32
        assert len(sequence) == 40
    first, second = (sequence.joints_mm for sequence in mocap.sequences)
    assert np.abs(first - second).max() < 6.0  # rounding to whole millimetres at half the size


def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path) -> None:
    hanging = standing()
    hanging[:, INDEX["head"]] = hanging[:, INDEX["thorax"]] + floats([0, -150, 90])
    narrow = standing()
    for name in ("shoulder", "elbow", "wrist"):
        for side, sign in (("left", 1), ("right", -1)):
            narrow[:, INDEX[f"{side}_{name}"], 0] = 500 + sign * 10
    rubber = standing()
    rubber[::2, INDEX["right_ankle"], 1] -= 100
    path = write(
        tmp_path / "m.npz",
        subj__good=standing(),
        walk__CMU_walkcycles_1=standing(),
        walk__actor=standing(),
        act__short=standing()[:5],
        act__hanging=rebuild_trunk(hanging),
        act__narrow=rebuild_trunk(narrow),
        act__rubber=rubber,
    )
    mocap = read_mocap(path)
    assert [sequence.name for sequence in mocap.sequences] == ["subj__good", "walk__CMU_walkcycles_1"]
    assert mocap.left_out.keys() == {"walk__actor", "act__short", "act__hanging", "act__narrow", "act__rubber"}
    assert "licence" in mocap.left_out["walk__actor"]
    assert "5 frames" in mocap.left_out["act__short"]
    assert "head" in mocap.left_out["act__hanging"]
    assert "shoulder" in mocap.left_out["act__narrow"]
    assert "limb" in mocap.left_out["act__rubber"]


def test_a_good_body_has_no_fault() -> None:
    joints = standing()
    assert find_fault(joints * np.float32(standard_scale(joints))) == ""


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="act__flat has shape"):
        read_mocap(write(tmp_path / "m.npz", act__flat=np.zeros((20, 17, 2))))
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(FormatError, match="not a file of motions"):
        read_mocap(tmp_path / "text.npz")


def test_what_rendering_holds_out_is_held_out_here() -> None:
    families = ("act__", "subj__", "dance__", "walk__CMU_walkcycles_")
    assert TEST_MOTIONS <= HELD_OUT_MOTIONS
    for name in ("02_04", "salsa_15", "salsa_22", "martial_07", "indian_08"):
        assert any(family + name in HELD_OUT for family in families), name
    for name in TEST_MOTIONS:
        if name.startswith("train_"):
            assert "act__" + name in HELD_OUT


def test_partners_twins_and_performers_go_together() -> None:
    salsas = {int(name.removeprefix("dance__salsa_")) for name in HELD_OUT if "salsa" in name}
    assert salsas == {number - 15 if number > 15 else number + 15 for number in salsas}
    # the collections act__ and walk__ number the same takes differently
    twins = {27: "16_15", 28: "16_16", 31: "16_31", 33: "16_47", 37: "39_03", 38: "39_04", 46: "39_14"}
    for number, take in twins.items():
        assert f"act__train_walking_extra_walking_{number}" in HELD_OUT
        assert f"walk__CMU_walkcycles_{take}" in HELD_OUT
    assert "act__test_running_running_1" in HELD_OUT  # 16_35
    assert {"16_35", "16_38", "humanoid3d_run_jump"} <= HELD_OUT_MOTIONS


def test_a_recording_is_held_out_in_both_files() -> None:
    for name in HELD_OUT:
        family, _, rest = name.partition("__")
        assert rest.removeprefix("CMU_walkcycles_") in HELD_OUT_MOTIONS, family
