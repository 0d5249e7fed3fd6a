"""The tree of 3D joints, and the one mapping to it."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.skeletons import COCO17, H36M17, POSECLI19, to_h36m17


def test_the_tree_is_a_tree() -> None:
    assert H36M17.parents[0] == -1
    assert all(parent < joint for parent, joint in H36M17.bones)
    assert len(H36M17.bones) == 16


def test_mirroring_exchanges_sides_and_keeps_the_tree() -> None:
    flip = H36M17.flip_indices
    assert np.array_equal(flip[flip], np.arange(17))
    assert H36M17.joint_names[flip[H36M17.joint_names.index("left_wrist")]] == "right_wrist"
    assert all((H36M17.parents[flip[joint]]) == flip[parent] for parent, joint in H36M17.bones if parent > 0)


@pytest.mark.parametrize("skeleton", [COCO17, POSECLI19])
@pytest.mark.parametrize("axes", [2, 3])
def test_limbs_are_taken_over_and_the_trunk_lies_between(skeleton: object, axes: int) -> None:
    source = COCO17 if skeleton is COCO17 else POSECLI19
    points = np.random.default_rng(0).normal(size=(4, len(source), axes)).astype(np.float32)
    joints, scores = to_h36m17(points, np.ones(points.shape[:2], np.float32), source)
    named = dict(zip(H36M17.joint_names, np.moveaxis(joints, 1, 0), strict=True))
    keypoint = dict(zip(source.keypoint_names, np.moveaxis(points, 1, 0), strict=True))
    for name in H36M17.joint_names:
        if name.startswith(("left_", "right_")):
            assert np.array_equal(named[name], keypoint[name])
    hips = (keypoint["left_hip"] + keypoint["right_hip"]) / 2
    shoulders = (keypoint["left_shoulder"] + keypoint["right_shoulder"]) / 2
    ears = (keypoint["left_ear"] + keypoint["right_ear"]) / 2
    assert np.allclose(named["root"], hips, atol=1e-6)
    assert np.allclose(named["thorax"], shoulders, atol=1e-6)
    assert np.allclose(named["spine"], (hips + shoulders) / 2, atol=1e-6)
    assert np.allclose(named["head"], ears, atol=1e-6)
    assert np.allclose(named["neck"], (shoulders + ears) / 2, atol=1e-6)
    assert (scores == 1).all()


def test_a_middle_is_missing_where_an_end_is_and_as_sure_as_its_worst_end() -> None:
    points = np.zeros((1, 17, 2), np.float32)
    scores = np.full((1, 17), 0.9, np.float32)
    scores[0, COCO17.index("left_hip")] = 0.4
    points[0, COCO17.index("right_shoulder")] = np.nan
    joints, values = to_h36m17(points, scores, COCO17)
    names = H36M17.joint_names
    assert values[0, names.index("root")] == pytest.approx(0.4)
    for missing in ("thorax", "spine", "neck", "right_shoulder"):
        assert np.isnan(joints[0, names.index(missing)]).all()
        assert values[0, names.index(missing)] == 0.0
    assert values[0, names.index("head")] == pytest.approx(0.9)
