"""``posecli train`` and ``posecli evaluate`` on a drawn set, with a recipe of a few steps."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app

RECIPE = """
name = "short"
network = "glsmamba-s"
[[data]]
annotations = "set.json"
images = "images"
[[stages]]
name = "encoder"
part = "encoder"
steps = 3
batch_size = 4
num_frames = 1
crop_hw = [64, 32]
warmup_steps = 1
[[stages]]
name = "network"
part = "network"
steps = 1
batch_size = 1
num_frames = 5
crop_hw = [192, 160]
warmup_steps = 1
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The drawn set of the training tests."""
    path = Path(__file__).resolve().parents[1] / "unit" / "training" / "conftest.py"
    spec = importlib.util.spec_from_file_location("posecli_tests_drawn_set", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path / "data"
    folder.mkdir()
    module.write_drawn_set(folder)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_train_then_evaluate(data: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "short.safetensors"
    recipe.write_text(RECIPE)
    trained = run("train", "pose", recipe, "--data", data, "--run", tmp_path / "run", "--out", out)
    assert trained.exit_code == 0, trained.output
    assert "network 1/1 loss" in trained.stderr
    again = run("train", "pose", recipe, "--data", data, "--run", tmp_path / "run", "--out", out)
    assert again.exit_code == 7, again.output

    judged = (
        "evaluate",
        "keypoints",
        "--annotations",
        data / "set.json",
        "--images",
        data / "images",
        "--weights",
        out,
    )
    result = run(*judged, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert set(report["pck_torso_0.2"]) == {"limb", "all", "per_keypoint"}
    assert 0 <= report["pck_box_0.1"]["limb"] <= 100
    assert {"ap", "ap50", "ap75", "ar"} <= set(report["oks"])
    held_out = json.loads(run(*judged, "--json", "--image-id-modulo", 5).stdout)
    assert held_out["num_images"] == 3
    table = run(*judged)
    assert "pck_torso_0.2" in table.stdout


def test_detected_boxes_with_the_whole_picture_as_one_person(data: Path, tmp_path: Path) -> None:
    result = run(
        "evaluate",
        "detector",
        "--annotations",
        data / "set.json",
        "--images",
        data / "images",
        "--detector",
        "full-frame",
        "--json",
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["boxes"]["recall50"] > 50  # the drawn people fill a little more than half of their pictures


@pytest.mark.parametrize(
    ("arguments", "exit_code", "word"),
    [
        (("train", "pose", "no.toml", "--data", ".", "--run", "r", "--out", "o.safetensors"), 2, "no.toml"),
        (("evaluate", "keypoints", "--annotations", "no.json", "--images", "."), 5, "no.json"),
        (("evaluate", "keypoints", "--annotations", "no.json", "--images", ".", "--boxes", "guessed"), 2, "guessed"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], exit_code: int, word: str) -> None:
    result = run(*arguments)
    assert result.exit_code == exit_code, result.output
    assert word in result.stderr
    assert "Traceback" not in result.output
