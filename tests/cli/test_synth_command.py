"""``posecli synth`` on a drawn avatar: windows, and clips with truth that posecli's own readers accept."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app
from posecli.formats.ground_truth import read_ground_truth
from posecli.formats.posetrack import read_posetrack
from posecli.training.synthetic.shards import RenderedWindows
from posecli.video.source import open_source


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = Path(__file__).resolve().parents[1] / "synthetic_factory.py"
    spec = importlib.util.spec_from_file_location("posecli_tests_synthetic_factory_cli", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.write_assets(tmp_path_factory.mktemp("assets"))
    names = {
        "--avatars": "avatars",
        "--motion": "motions",
        "--environments": "environments",
        "--photographs": "photographs",
    }
    return [text for option, key in names.items() for text in (option, str(made[key]))]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["synth", *arguments])


def clips(out: Path, inputs: list[str], *more: str) -> Result:
    short = ["--seconds", "0.5", "--fps", "12", "--size", "160x120", "--seed", "4"]
    return run("clips", str(out), *inputs, *short, *more)


def test_windows(inputs: list[str], tmp_path: Path) -> None:
    done = run("windows", str(tmp_path / "w"), *inputs, "--count", "2", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert len(RenderedWindows(tmp_path / "w")) == 2
    again = run("windows", str(tmp_path / "w"), *inputs, "--count", "2", "--seed", "4")
    assert again.exit_code == 2
    assert "seed differ" in again.stderr


def test_pictures(inputs: list[str], tmp_path: Path) -> None:
    short = ["--count", "2", "--size", "128x96", "--seed", "3", "--people", "2"]
    done = run("pictures", str(tmp_path), *inputs, *short)
    assert done.exit_code == 0, done.output
    assert "train.json: 2 pictures" in done.stderr
    truth = read_ground_truth(tmp_path / "train.json")
    assert {(image.width_px, image.height_px) for image in truth.images} == {(128, 96)}
    assert 2 <= len(truth) <= 4
    again = run("pictures", str(tmp_path), *inputs, *short, "--leave-out-modulo", "7")
    assert again.exit_code == 2
    assert "photographs_leave_out differ" in again.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--people", "4..2", "fewest first"), ("--size", "640", "two numbers"), ("--size", "32x640", "at least 64 px")],
)
def test_mistakes_about_pictures_are_told(
    option: str, value: str, said: str, inputs: list[str], tmp_path: Path
) -> None:
    done = run("pictures", str(tmp_path), *inputs, "--count", "1", option, value)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_clips_with_their_truth(inputs: list[str], tmp_path: Path) -> None:
    done = clips(tmp_path, inputs, "--clips", "2", "--people", "2", "--crowded", "1")
    assert done.exit_code == 0, done.output
    for number, people in ((0, {2}), (1, {5, 6})):
        stem = tmp_path / f"clip_000{number}"
        truth = read_ground_truth(stem.with_suffix(".json"))
        assert len(truth.images) == 6
        assert {(image.width_px, image.height_px) for image in truth.images} == {(160, 120)}
        assert len(truth.labelled_points) == 19
        assert len(truth) > 0
        sequence = read_posetrack(tmp_path / f"clip_000{number}.posetrack.json")
        assert len(sequence.file_names) == 6
        assert len(sequence.poses) <= max(people)
        with open_source(stem.with_suffix(".mp4")) as source:
            frames = [frame.image for frame in source.frames()]
        assert len(frames) == 6
        assert frames[0].shape == (120, 160, 3)
        assert stem.with_suffix(".png").stat().st_size > 1000


def test_truth_of_both_files_agrees(inputs: list[str], tmp_path: Path) -> None:
    assert clips(tmp_path, inputs, "--people", "1").exit_code == 0
    truth = read_ground_truth(tmp_path / "clip_0000.json")
    pose = read_posetrack(tmp_path / "clip_0000.posetrack.json").poses[0]
    assert len(pose) == len(truth)
    ankle, theirs = truth.keypoints[0, 16], pose.keypoints[0, -1]
    assert (ankle[2] == 0 and np.isnan(theirs).all()) or ankle[:2] == pytest.approx(theirs, abs=0.02)
    inside = truth.keypoints[truth.keypoints[..., 2] > 0]
    assert (inside[:, :2] >= -0.5).all()


def test_hard_clips_hide_more(inputs: list[str], tmp_path: Path) -> None:
    hidden = []
    for name, more in (("usual", ()), ("hard", ("--hard",))):
        assert clips(tmp_path / name, inputs, "--clips", "3", "--people", "2", *more).exit_code == 0
        truths = [read_ground_truth(path).keypoints for path in sorted((tmp_path / name).glob("clip_000?.json"))]
        flags = np.concatenate([points[..., 2].reshape(-1) for points in truths])
        hidden.append(float((flags == 1).sum() / max((flags > 0).sum(), 1)))
    assert hidden[1] > hidden[0] + 0.01


def test_the_same_seed_gives_the_same_clip(inputs: list[str], tmp_path: Path) -> None:
    """The truth to the bit; the pictures as far as the encoder repeats itself, which it does not quite."""
    for name in ("a", "b"):
        assert clips(tmp_path / name, inputs, "--people", "1..2").exit_code == 0
    first, second = ((tmp_path / name / "clip_0000.json").read_bytes() for name in ("a", "b"))
    assert first == second
    pictures = []
    for name in ("a", "b"):
        with open_source(tmp_path / name / "clip_0000.mp4") as source:
            pictures.append(np.stack([frame.image for frame in source.frames()]).astype(float))
    assert np.abs(pictures[0] - pictures[1]).mean() < 1


def test_clips_that_exist_stay(inputs: list[str], tmp_path: Path) -> None:
    (tmp_path / "clip_0000.json").write_text("mine")
    refused = clips(tmp_path, inputs)
    assert refused.exit_code == 7
    assert "exists already" in refused.stderr
    assert (tmp_path / "clip_0000.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--people", "many", "two numbers"),
        ("--people", "4..2", "fewest first"),
        ("--size", "160", "two numbers"),
        ("--crowded", "3", "3 crowded clips of 1"),
        ("--split", "val", "neither train nor test"),
        ("--seconds", "0", "0 s"),
    ],
)
def test_mistakes_are_told(option: str, value: str, said: str, inputs: list[str], tmp_path: Path) -> None:
    done = clips(tmp_path, inputs, option, value)
    assert done.exit_code == 2
    assert said in done.stderr
