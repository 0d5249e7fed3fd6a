from __future__ import annotations

import numpy as np
import pytest

from posecli.evaluation.pck import LIMB_POINTS, PCK_CRITERIA, box_lengths, pck, torso_lengths
from posecli.skeletons import POSECLI19

LEFT_SHOULDER, RIGHT_SHOULDER = POSECLI19.index("left_shoulder"), POSECLI19.index("right_shoulder")
LEFT_HIP, RIGHT_HIP = POSECLI19.index("left_hip"), POSECLI19.index("right_hip")


def person() -> np.ndarray:
    """(1, 19, 3): all labelled; left shoulder to right hip is 50 px, right shoulder to left hip 100 px."""
    truth = np.zeros((1, 19, 3), np.float32)
    truth[..., :2] = np.arange(19)[None, :, None]
    truth[..., 2] = 2
    truth[0, LEFT_SHOULDER, :2], truth[0, RIGHT_HIP, :2] = (30, 40), (0, 0)
    truth[0, RIGHT_SHOULDER, :2], truth[0, LEFT_HIP, :2] = (100, 7), (0, 7)
    return truth


def test_the_torso_is_left_shoulder_to_right_hip_else_the_other_diagonal_else_unknown() -> None:
    truth = np.concatenate([person(), person(), person()])
    truth[1, LEFT_SHOULDER, 2] = 0
    truth[2, [LEFT_SHOULDER, LEFT_HIP], 2] = 0
    np.testing.assert_array_equal(torso_lengths(truth), [50, 100, np.nan])


def test_the_box_counts_by_its_longer_side() -> None:
    assert box_lengths(np.array([[0, 0, 10, 4], [1, 1, 3, 9]], np.float32)).tolist() == [10, 8]


def test_limbs_are_the_twelve_from_shoulders_to_ankles() -> None:
    assert [POSECLI19.keypoint_names[i] for i in LIMB_POINTS][:2] == ["left_shoulder", "right_shoulder"]
    assert [POSECLI19.keypoint_names[i] for i in LIMB_POINTS][-1] == "right_ankle"
    assert len(LIMB_POINTS) == 12


def test_the_limit_itself_is_a_miss() -> None:
    truth, boxes = person(), np.array([[0, 0, 100, 20]], np.float32)
    predicted = truth[..., :2].copy()
    predicted[0, 7, 0] += 10.0
    predicted[0, 8, 0] += 9.99
    table = pck(predicted, truth, boxes)
    for name in ("pck_torso_0.2", "pck_box_0.1"):
        assert table[name]["per_keypoint"]["left_elbow"] == 0
        assert table[name]["per_keypoint"]["right_elbow"] == 100
        assert table[name]["limb"] == pytest.approx(100 * 11 / 12)
        assert table[name]["all"] == pytest.approx(100 * 18 / 19)
    assert table["pck_box_0.05"]["limb"] == pytest.approx(100 * 10 / 12)


def test_points_are_pooled_not_people() -> None:
    truth = np.concatenate([person(), person()])
    truth[1, :, 2] = 0
    truth[1, [LEFT_SHOULDER, RIGHT_HIP], 2] = 1
    predicted = truth[..., :2].copy()
    predicted[1] = np.nan
    table = pck(predicted, truth, np.tile(np.array([[0, 0, 100, 50]], np.float32), (2, 1)))
    assert table["pck_torso_0.2"]["limb"] == pytest.approx(100 * 12 / 14)
    assert table["pck_torso_0.2"]["per_keypoint"]["left_shoulder"] == 50


def test_people_without_a_torso_count_only_by_their_box() -> None:
    truth = person()
    truth[0, :, 2] = 0
    truth[0, 0, 2] = 2
    table = pck(truth[..., :2], truth, np.array([[0, 0, 9, 9]], np.float32))
    assert table["pck_torso_0.2"]["all"] is None
    assert table["pck_box_0.1"] == {
        "limb": None,
        "all": 100.0,
        "per_keypoint": {name: 100.0 if name == "nose" else None for name in POSECLI19.keypoint_names},
    }


def test_nobody_is_no_number() -> None:
    table = pck(np.zeros((0, 19, 2), np.float32), np.zeros((0, 19, 3), np.float32), np.zeros((0, 4), np.float32))
    assert list(table) == list(PCK_CRITERIA)
    assert all(groups["all"] is None for groups in table.values())
