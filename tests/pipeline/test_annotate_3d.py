"""annotate() with 3D poses: what is in the file, which files are beside it, and that interruptions do not show."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posecli.errors import ConfigError, OutputError, WeightsError
from posecli.formats.coco import read_coco_dataset
from posecli.formats.npz import read_npz
from posecli.lifting.bones import bone_lengths
from posecli.lifting.checkpoint import save_lifter_network
from posecli.lifting.config import LiftConfig
from posecli.lifting.network import PoseMamba
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.lift import MotionFiles
from posecli.pipeline.settings import AnnotateSettings

DetectWith = Callable[[Callable[[int, int], bool]], None]
CONFIG = LiftConfig(16, 1, in_channels=3, max_frames=27, normalisation="person")


@pytest.fixture(scope="module")
def lifter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small-lifter.safetensors"
    save_lifter_network(path, PoseMamba(CONFIG).state_dict(), CONFIG, metadata={})
    return path


@pytest.fixture
def video(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    return make_video(tmp_path / "clip.mp4", 83, (96, 64))


@pytest.fixture
def in_3d(settings: AnnotateSettings, lifter: Path) -> AnnotateSettings:
    return replace(settings, lift=str(lifter), height_cm=180.0)


def outputs_in(folder: Path) -> Outputs:
    motion = MotionFiles(trc=folder / "trc", bvh=folder / "bvh", npz=folder / "poses.npz")
    return Outputs(folder / "poses.json", overlay=folder / "overlay.mp4", motion=motion)


class Interrupt:
    """A progress callback that pulls the plug when a stage begins, or after some frames of the first."""

    def __init__(self, stage: str, after: int = 0) -> None:
        self._stage, self._after = stage, after

    def __call__(self, stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        if stage == self._stage and done >= self._after:
            raise KeyboardInterrupt


def test_everybody_is_lifted_and_the_file_says_by_what(
    video: Path, tmp_path: Path, in_3d: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    result = annotate(video, outputs_in(tmp_path), in_3d)
    back = read_coco_dataset(tmp_path / "poses.json")
    assert [pose.track_id for pose in back.poses_3d] == [0, 1]
    for flat, deep in zip(back.poses, back.poses_3d, strict=True):
        assert np.array_equal(flat.frame_indices, deep.frame_indices)
        assert np.isfinite(deep.joints_mm).all()
        assert np.ptp(bone_lengths(deep.joints_mm), axis=0).max() < 0.5
    [weights] = [used for used in back.run["weights"] if used["role"] == "lifting"]
    assert back.run["lifting"]["sha256"] == weights["sha256"]
    assert back.run["lifting"]["height_cm"] == back.run["settings"]["height_cm"] == 180.0
    assert 0.0 < result.timings_s["lift"] < result.timings_s["pass1"] + 60
    names = [str(path.relative_to(tmp_path)) for path in result.motion_files]
    assert names == ["trc/clip_0.trc", "trc/clip_1.trc", "bvh/clip_0.bvh", "bvh/clip_1.bvh", "poses.npz"]
    assert all(path.stat().st_size for path in result.motion_files)
    np.testing.assert_allclose(
        read_npz(tmp_path / "poses.npz")[1].joints_mm, back.poses_3d[1].joints_mm, rtol=0, atol=0.0501
    )
    assert "lift" in json.loads((tmp_path / "poses.run.json").read_text())["timings_s"]


def test_without_3d_nothing_says_3d(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: person == 0)
    result = annotate(video, Outputs(tmp_path / "poses.json"), settings)
    assert result.annotation.poses_3d == ()
    assert "lift" not in result.timings_s
    text = (tmp_path / "poses.json").read_text()
    assert not any(word in text for word in ("lift", "height_cm", "fov_deg", "joints"))


def test_an_interrupted_run_ends_with_the_same_bytes(
    video: Path, tmp_path: Path, in_3d: AnnotateSettings, detect_with: DetectWith
) -> None:
    """Pulled out while looking, again while lifting, and again when the files of 3D motion are there already."""
    detect_with(lambda person, index: person == 0 or index > 20)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = outputs_in(tmp_path / "whole"), outputs_in(tmp_path / "killed")
    annotate(video, replace(whole, overlay=None), in_3d)
    for stage, after in (("annotate", 66), ("lift", 0), ("overlay", 0)):
        with pytest.raises(KeyboardInterrupt):
            annotate(video, killed, in_3d, progress=Interrupt(stage, after))
        assert (tmp_path / "killed" / "trc" / "clip_0.trc").exists() == (stage == "overlay")
    result = annotate(video, killed, in_3d)
    assert result.resumed_at_frame is not None
    for path in ("poses.json", "trc/clip_0.trc", "trc/clip_1.trc", "bvh/clip_0.bvh", "poses.npz"):
        assert (tmp_path / "killed" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()


@pytest.mark.parametrize("name", ["clip_0.trc", "clip_0.bvh", "poses.npz"])
def test_a_run_killed_the_moment_after_a_motion_file_is_there_goes_on(
    name: str,
    video: Path,
    tmp_path: Path,
    in_3d: AnnotateSettings,
    detect_with: DetectWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detect_with(lambda person, index: person == 0)
    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed_after(name))
        with pytest.raises(KeyboardInterrupt):
            annotate(video, outputs_in(out), in_3d)
    [there] = out.rglob(name)
    half_written = there.with_name(f".{there.stem}.0badcafe.partial{there.suffix}")
    half_written.touch()
    annotate(video, outputs_in(out), in_3d)
    assert not half_written.exists()
    assert (out / "poses.json").exists()


def killed_after(name: str) -> Callable[[Path, Path], None]:
    """What stands in for `os.replace`: gives a file its name, and pulls the plug if it is this one."""
    replace_file = os.replace

    def replace_and_die(source: Path, target: Path) -> None:
        replace_file(source, target)
        if target.name == name:
            raise KeyboardInterrupt

    return replace_and_die


def test_another_lifter_sets_an_old_journal_aside(
    video: Path, tmp_path: Path, in_3d: AnnotateSettings, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    outputs = Outputs(tmp_path / "poses.json")
    with pytest.raises(KeyboardInterrupt):
        annotate(video, outputs, settings, progress=Interrupt("annotate", 70))
    result = annotate(video, outputs, in_3d)
    assert result.resumed_at_frame is None
    assert any("another run" in note for note in result.notes)


def test_motion_files_that_exist_are_refused_before_any_work(
    video: Path, tmp_path: Path, in_3d: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    (tmp_path / "bvh").mkdir()
    mine = tmp_path / "bvh" / "clip_5.bvh"
    mine.write_text("mine")
    with pytest.raises(OutputError, match=r"clip_5\.bvh: exists already"):
        annotate(video, outputs_in(tmp_path), in_3d)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bvh", "clip.mp4"]
    annotate(video, outputs_in(tmp_path), in_3d, overwrite=True)
    assert mine.read_text() == "mine"


def test_what_cannot_be_is_refused_early(
    video: Path, tmp_path: Path, settings: AnnotateSettings, in_3d: AnnotateSettings
) -> None:
    with pytest.raises(ConfigError, match="TRC, BVH and NPZ files hold 3D poses"):
        annotate(video, outputs_in(tmp_path), settings)
    with pytest.raises(WeightsError, match="kind 'pose', not 'lifting'"):
        annotate(video, Outputs(tmp_path / "poses.json"), replace(in_3d, lift=settings.weights))
    with pytest.raises(ConfigError, match="height is 5 cm"):
        replace(settings, height_cm=5.0)
    with pytest.raises(ConfigError, match="field of view is 300 degrees"):
        replace(settings, fov_deg=300.0)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
