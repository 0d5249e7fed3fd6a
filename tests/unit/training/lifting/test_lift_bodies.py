"""Bodies perform recordings: their joints are those of the points that rendering labels."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.skeletons import H36M17, POSECLI19, STANDARD_BONES_MM
from posecli.training.lifting.bodies import joints_of, perform
from posecli.training.lifting.bones import bone_lengths
from posecli.training.synthetic.avatar import read_avatar
from posecli.training.synthetic.motion import read_motions


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    path = Path(__file__).resolve().parents[3] / "synthetic_factory.py"
    spec = importlib.util.spec_from_file_location("posecli_tests_synthetic_factory", path)
    assert spec is not None and spec.loader is not None
    factory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(factory)
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "avatars").mkdir()
    for name in ("boxes", "White_M_1_Default"):  # the second is held out
        factory.write_avatar(folder / "avatars" / f"{name}.npz")
    factory.write_motions(folder / "motions.npz", names=("walk", "16_35"))  # the second is held out
    return {"avatars": folder / "avatars", "motions": folder / "motions.npz"}


def test_only_bodies_and_motions_of_the_split_take_part(assets: dict[str, Path]) -> None:
    assert [each.name for each in perform(assets["motions"], assets["avatars"])] == ["walk@boxes"]
    held_out = perform(assets["motions"], assets["avatars"], split="test")
    assert [each.name for each in held_out] == ["16_35@White_M_1_Default"]
    with pytest.raises(ConfigError, match="split"):
        perform(assets["motions"], assets["avatars"], split="all")


def test_a_performance_is_a_standard_body_that_walks(assets: dict[str, Path]) -> None:
    (walk,) = perform(assets["motions"], assets["avatars"])
    assert walk.joints_mm.shape == (40, 17, 3)
    assert bone_lengths(walk.joints_mm).sum() == pytest.approx(STANDARD_BONES_MM, rel=1e-3)
    path = walk.joints_mm[:, 0]
    assert np.all(np.diff(path[:, 2]) > 0)
    assert 1100 < path[-1, 2] - path[0, 2] < 2600
    head, ankle = (H36M17.joint_names.index(name) for name in ("head", "left_ankle"))
    assert np.all(walk.joints_mm[:, head, 1] > walk.joints_mm[:, ankle, 1] + 1000)


def test_joints_lie_between_the_labelled_points(assets: dict[str, Path]) -> None:
    body = read_avatar(assets["avatars"] / "boxes.npz")
    (clip, _) = read_motions(assets["motions"])
    joints = joints_of(body, clip, np.array([0.0, 0.5]))
    motion = clip.sample(body.rig, np.array([0.0, 0.5]))
    points = body.points.positions(body.rig.bone_matrices(motion.rotations, motion.roots)) * 1000
    ears = points[:, [POSECLI19.index("left_ear"), POSECLI19.index("right_ear")]].mean(axis=1)
    assert joints[:, H36M17.joint_names.index("head")] == pytest.approx(ears, abs=0.1)
    wrist = points[:, POSECLI19.index("left_wrist")]
    assert joints[:, H36M17.joint_names.index("left_wrist")] == pytest.approx(wrist, abs=0.1)


def test_the_same_seed_gives_the_same_performance(assets: dict[str, Path]) -> None:
    (first,), (second,) = (perform(assets["motions"], assets["avatars"], seed=1) for _ in range(2))
    assert np.array_equal(first.joints_mm, second.joints_mm)
