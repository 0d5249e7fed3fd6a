"""``posecli evaluate`` on videos, poses files and folders of them; stills are in ``test_train_and_evaluate_commands.py``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app

NUM_FRAMES, SIZE = 10, (96, 64)


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def document_of(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def write_labels(path: Path, *, has_points: bool = True) -> Path:
    """One person who fills the picture, and moves a little."""
    images = [{"id": f, "file_name": f"{f}", "width": SIZE[0], "height": SIZE[1]} for f in range(NUM_FRAMES)]
    annotations = []
    names = ["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_ankle"]
    for frame in range(NUM_FRAMES):
        points = np.stack([30 + 5 * np.arange(len(names)) + frame, 8 + 8 * np.arange(len(names))], axis=1).tolist()
        row: dict[str, Any] = {"id": frame + 1, "image_id": frame, "category_id": 1, "track_id": 5}
        row["bbox"] = [2, 1, 91, 62]
        if has_points:
            row["keypoints"] = [value for x, y in points for value in (x, y, 2)]
        annotations.append(row)
    categories = [{"id": 1, "name": "person", "keypoints": names}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.json")


@pytest.fixture
def video(tmp_path: Path, make_video: Callable[..., Path]) -> Path:
    return make_video(tmp_path / "clip.mp4", NUM_FRAMES, SIZE)


@pytest.fixture
def poses(tmp_path: Path, video: Path, tiny_weights: Path) -> Path:
    out = tmp_path / "clip.poses.json"
    command = ["annotate", str(video), "--weights", str(tiny_weights), "--detector", "full-frame", "--out", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    return out


def test_a_poses_file_is_judged_and_the_worst_are_drawn(labels: Path, poses: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "worst.png"
    asked = ("keypoints", "--annotations", labels, "--predictions", poses)
    report = document_of(evaluate(*asked, "--json", "--worst", 3, "--sheet", sheet))
    assert report["boxes"] == "predicted"
    assert (report["num_images"], report["num_persons"], report["num_found"]) == (10, 10, 10)
    assert {"pck_torso_0.2", "pck_box_0.05", "pck_box_0.1", "oks", "motion"} <= set(report)
    assert sheet.stat().st_size > 1000
    raw = document_of(evaluate(*asked, "--json", "--raw"))
    assert raw["motion"]["predicted"] > report["motion"]["predicted"]
    again = evaluate(*asked, "--sheet", sheet)
    assert again.exit_code == 7, again.output
    table = evaluate(*asked, "--per-joint", "--sheet", sheet, "--overwrite")
    assert "left_ankle" in table.stdout
    assert "left_eye" not in table.stdout
    assert "wrote" in table.stderr


@pytest.mark.parametrize("mode", ["clip", "key", "still"])
def test_a_video_with_given_boxes(labels: Path, video: Path, tiny_weights: Path, mode: str) -> None:
    asked = ("keypoints", "--annotations", labels, "--video", video, "--weights", tiny_weights, "--json")
    report = document_of(evaluate(*asked, "--window-mode", mode))
    assert report["boxes"] == "given"
    assert report["num_found"] == report["num_persons"] == 10
    assert document_of(evaluate(*asked, "--image-id-modulo", 5))["num_images"] == 2


def test_a_video_end_to_end_equals_its_poses_file(labels: Path, video: Path, tiny_weights: Path, poses: Path) -> None:
    asked = ("--video", video, "--weights", tiny_weights, "--boxes", "detected", "--detector", "full-frame")
    whole = document_of(evaluate("keypoints", "--annotations", labels, *asked, "--json"))
    by_file = document_of(evaluate("keypoints", "--annotations", labels, "--predictions", poses, "--json"))
    assert whole.pop("boxes") == "detected"
    assert by_file.pop("boxes") == "predicted"
    assert whole == by_file


def test_tracks_are_judged(labels: Path, poses: Path, tmp_path: Path) -> None:
    report = document_of(evaluate("tracking", "--annotations", labels, "--predictions", poses, "--json"))
    assert set(report) == {"box", "oks", "num_clips", "num_frames", "num_people", "num_tracks"}
    assert report["box"]["idf1"] == 100.0
    assert report["box"]["id_switches"] == 0
    table = evaluate("tracking", "--annotations", labels, "--predictions", poses)
    assert [line.split()[0] for line in table.stdout.splitlines()][:5] == ["METRIC", "hota", "det_a", "ass_a", "loc_a"]
    no_points = write_labels(tmp_path / "boxes.json", has_points=False)
    by_box = document_of(evaluate("tracking", "--annotations", no_points, "--predictions", poses, "--json"))
    assert by_box["box"] == report["box"]
    assert "oks" not in by_box


def test_switches_are_told(labels: Path, poses: Path) -> None:
    content = json.loads(poses.read_text())
    content["posecli"]["track_ids"].append(77)
    for row in content["annotations"]:
        if row["image_id"] > 6:
            row["track_id"] = 77
    poses.write_text(json.dumps(content))
    result = evaluate("tracking", "--annotations", labels, "--predictions", poses)
    assert result.exit_code == 0, result.output
    assert "clip, frame 6: person 5 goes from track 0 to 77" in result.stderr


def test_folders_are_judged_as_one(labels: Path, poses: Path, video: Path, tiny_weights: Path, tmp_path: Path) -> None:
    truths, outputs = tmp_path / "truths", tmp_path / "outputs"
    truths.mkdir()
    outputs.mkdir()
    for name in ("a", "b"):
        (truths / f"{name}.json").write_bytes(labels.read_bytes())
        (outputs / f"{name}.poses.json").write_bytes(poses.read_bytes())
        (outputs / f"{name}.mp4").write_bytes(video.read_bytes())
    both = ("--annotations", truths, "--predictions", outputs, "--json")
    assert document_of(evaluate("tracking", *both))["num_people"] == 2
    assert document_of(evaluate("keypoints", *both))["num_persons"] == 20
    asked = ("--annotations", truths, "--video", outputs, "--weights", tiny_weights, "--json")
    assert document_of(evaluate("keypoints", *asked))["num_persons"] == 20


def test_jitter_of_files_side_by_side(poses: Path) -> None:
    (first, second) = document_of(evaluate("jitter", poses, poses, "--json"))
    assert first == second
    assert first["raw"]["percent_per_frame2"] > first["final"]["percent_per_frame2"] > 0
    table = evaluate("jitter", poses, "--per-joint")
    assert "FINAL %/FRAME2" in table.stdout
    assert "left_wrist" in table.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "word"),
    [
        (("keypoints",), 2, "one of --images, --video and --predictions"),
        (("keypoints", "--images", ".", "--video", "v.mp4"), 2, "and only one"),
        (("keypoints", "--images", ".", "--window-mode", "guess"), 2, "guess"),
        (("keypoints", "--images", ".", "--sheet", "sheet.txt"), 7, ".txt"),
        (("keypoints", "--video", "no.mp4"), 5, "no.mp4"),
        (("keypoints", "--video", "no.mp4", "--boxes", "detected", "--window-mode", "still"), 2, "given"),
        (("keypoints", "--predictions", "no.poses.json"), 5, "no.poses.json"),
        (("tracking", "--predictions", "no.poses.json"), 5, "no.poses.json"),
    ],
)
def test_mistakes_are_one_line(labels: Path, arguments: tuple[str, ...], exit_code: int, word: str) -> None:
    result = evaluate(arguments[0], "--annotations", labels, *arguments[1:])
    assert result.exit_code == exit_code, result.output
    assert word in result.stderr
    assert "Traceback" not in result.output


def test_labels_are_no_poses_file(labels: Path) -> None:
    result = evaluate("tracking", "--annotations", labels, "--predictions", labels)
    assert result.exit_code == 5
    assert "not a poses file" in result.stderr
