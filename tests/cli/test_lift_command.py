"""``posecli lift``: a poses file in, the same with 3D out."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from posecli.cli.app import app
from posecli.formats.bvh_reader import read_bvh
from posecli.formats.coco import read_coco_dataset, write_coco_dataset
from posecli.formats.npz import read_npz
from posecli.formats.trc import read_trc
from posecli.lifting.checkpoint import save_lifter_network
from posecli.lifting.config import LiftConfig
from posecli.lifting.network import PoseMamba
from posecli.records import Annotation, FrameTable, PoseSequence, VideoInfo

CONFIG = LiftConfig(16, 1, in_channels=3, max_frames=27, normalisation="person")
COUNT = 40


@pytest.fixture(scope="module")
def lifter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small-lifter.safetensors"
    save_lifter_network(path, PoseMamba(CONFIG).state_dict(), CONFIG, metadata={})
    return path


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    """Two people of 40 and 30 frames, the second is missing in 12 of them."""
    rng = np.random.default_rng(2)
    sequences = []
    for track_id, count in ((3, COUNT), (5, 30)):
        points = rng.uniform(100, 500, (1, 19, 2)) + np.arange(count)[:, None, None] * [1.0, 0.5]
        scores = np.full((count, 19), 0.8, np.float32)
        if track_id == 5:
            scores[10:22] = 0.0
        sequence = PoseSequence(
            track_id=track_id,
            skeleton="posecli19",
            frame_indices=np.arange(count, dtype=np.int64),
            keypoints=points.astype(np.float32),
            raw_keypoints=points.astype(np.float32),
            scores=scores,
            boxes=np.tile(np.array([90, 90, 560, 560], np.float32), (count, 1)),
            box_scores=np.ones(count, np.float32),
            interpolated=np.zeros(count, np.bool_),
        )
        sequences.append(sequence)
    video = VideoInfo(
        path=Path("walk.mp4"),
        width_px=1280,
        height_px=720,
        fps=Fraction(25),
        num_frames_from_header=COUNT,
        duration_s=COUNT / 25,
        rotation_deg=0,
        time_base=Fraction(1, 25),
        codec="h264",
        pixel_format="yuv420p",
        colour="bt709",
        is_hdr=False,
        has_audio=False,
    )
    pts = np.arange(COUNT, dtype=np.int64)
    table = FrameTable(pts, pts / 25, np.zeros(COUNT, bool))
    run = {"weights": [{"role": "pose", "name": "x", "sha256": "0"}, {"role": "lifting", "name": "y", "sha256": "1"}]}
    path = tmp_path / "poses.json"
    write_coco_dataset(Annotation(video, table, tuple(sequences), run), path)
    return path


def lift(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["lift", *map(str, arguments)], prog_name="posecli")


def test_poses_get_their_third_dimension_and_keep_everything_else(poses: Path, tmp_path: Path, lifter: Path) -> None:
    out = tmp_path / "poses3d.json"
    options = ("--trc", tmp_path / "trc", "--bvh", tmp_path / "bvh", "--npz", tmp_path / "poses.npz", "--json")
    result = lift(poses, "--out", out, "--weights", lifter, "--height", 185, *options)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["people"], facts["poses"], facts["poses_in_3d"]) == (2, 70, 58)
    assert facts["outputs"][-1] == str(out)
    assert all(Path(path).exists() for path in facts["outputs"])
    before, after = read_coco_dataset(poses), read_coco_dataset(out)
    for old, new in zip(before.poses, after.poses, strict=True):
        assert np.array_equal(old.keypoints, new.keypoints, equal_nan=True)
    assert [pose.track_id for pose in after.poses_3d] == [3, 5]
    assert np.isnan(after.poses_3d[1].joints_mm).all(axis=(1, 2)).tolist() == [10 <= i < 22 for i in range(30)]
    assert [used["role"] for used in after.run["weights"]] == ["pose", "lifting"]
    assert after.run["weights"][1]["sha256"] == after.run["lifting"]["sha256"] != "1"
    assert after.run["lifting"]["height_cm"] == 185.0
    assert read_trc(tmp_path / "trc" / "walk_5.trc").positions.shape == (30, 17, 3)
    assert read_bvh(tmp_path / "bvh" / "walk_3.bvh").frame_time_s == 0.04
    assert len(read_npz(tmp_path / "poses.npz")) == 2


def test_lifting_anew_replaces_the_old_and_files_without_3d_lose_nothing(
    poses: Path, tmp_path: Path, lifter: Path
) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    assert lift(poses, "--out", first, "--weights", lifter).exit_code == 0
    assert lift(first, "--out", second, "--weights", lifter).exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    assert lift(second, "--out", second, "--weights", lifter, "--overwrite").exit_code == 0
    assert first.read_bytes() == second.read_bytes()


def test_it_says_what_it_did(poses: Path, tmp_path: Path, lifter: Path) -> None:
    out = tmp_path / "poses3d.json"
    result = lift(poses, "--out", out, "--weights", lifter)
    assert result.stdout == ""
    assert result.stderr == f"2 people, 70 poses, 58 poses in 3D\nwrote {out}\n"


def test_mistakes_are_one_line_and_an_exit_code(poses: Path, tmp_path: Path, lifter: Path, tiny_weights: Path) -> None:
    out = tmp_path / "out.json"
    (tmp_path / "walk_3.trc").write_text("mine")
    for arguments, code, words in (
        ((tmp_path / "none.json", "--out", out, "--weights", lifter), 5, "none.json"),
        ((poses, "--out", poses, "--weights", lifter), 7, "exists already"),
        ((poses, "--out", out, "--weights", tiny_weights), 4, "kind 'pose', not 'lifting'"),
        ((poses, "--out", out, "--weights", "nobody"), 4, "nobody"),
        ((poses, "--out", out, "--weights", lifter, "--height", 1.8), 2, "height is 1.8 cm"),
        ((poses, "--out", out, "--weights", lifter, "--fov", 0), 2, "field of view is 0 degrees"),
        ((poses, "--out", out, "--weights", lifter, "--trc", tmp_path), 7, "walk_3.trc: exists already"),
        ((poses, "--out", out, "--weights", lifter, "--bvh", tmp_path / "a" / "b"), 7, "does not exist"),
    ):
        result = lift(*arguments)
        assert result.exit_code == code, result.output
        assert words in result.stderr
        assert "Traceback" not in result.output
        assert not out.exists()


def test_annotate_knows_3d(tmp_path: Path, make_video, tiny_weights: Path, lifter: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", 40, (96, 64))
    common = ("annotate", str(video), "--weights", str(tiny_weights), "--detector", "full-frame", "--json")
    files = ("--out", str(tmp_path / "p.json"), "--trc", str(tmp_path / "trc"))
    result = CliRunner().invoke(app, [*common, *files], prog_name="posecli")
    assert result.exit_code == 2
    assert "ask for 3D poses too, with --3d" in result.stderr
    result = CliRunner().invoke(app, [*common, *files, "--3d", "--lifter", str(lifter)], prog_name="posecli")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["outputs"][0] == str(tmp_path / "trc" / "clip_0.trc")
    assert facts["timings_s"]["lift"] > 0
    assert len(read_coco_dataset(tmp_path / "p.json").poses_3d) == 1
