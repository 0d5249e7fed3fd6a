"""``posecli annotate`` as a user meets it: every kind of bad input, and a really killed process that goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app
from posecli.formats.coco import read_coco_dataset
from posecli.pipeline.journal import journal_path

MakeVideo = Callable[..., Path]


@pytest.fixture
def tiny(tiny_weights: Path) -> Path:
    return tiny_weights


@pytest.fixture
def video(tmp_path: Path, make_video: MakeVideo) -> Path:
    return make_video(tmp_path / "clip.mp4", 40, (96, 64))


def annotate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["annotate", *map(str, arguments)])


def is_one_line_error(result: Result, exit_code: int, *words: str) -> None:
    assert result.exit_code == exit_code, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("hint: ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


def test_a_whole_run_writes_everything_and_tells_on_stdout_only_json(video: Path, tmp_path: Path, tiny: Path) -> None:
    names = {
        "--out": "poses.json",
        "--overlay": "overlay.mp4",
        "--sheet": "sheet.png",
        "--coco-results": "results.json",
        "--posetrack": "posetrack.json",
    }
    files = [part for option, name in names.items() for part in (option, tmp_path / name)]
    result = annotate(video, "--weights", tiny, "--detector", "full-frame", "--json", *files)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["frames"], facts["people"], facts["poses"]) == (40, 1, 40)
    assert all((tmp_path / name).exists() for name in [*names.values(), "poses.run.json"])
    report = json.loads((tmp_path / "poses.run.json").read_text())
    assert report["run"]["weights"][0]["sha256"]
    assert report["run"]["backend"]["scan"] == "cpu"
    annotation = read_coco_dataset(tmp_path / "poses.json")
    assert np.allclose(annotation.frames.time_s, np.arange(40) / 25)
    assert not list(tmp_path.glob(".*"))


def test_boxes_of_the_user_are_taken(video: Path, tmp_path: Path, tiny: Path) -> None:
    boxes = tmp_path / "boxes.json"
    rows = [{"frame_index": i, "boxes": [[10, 5, 40, 60]]} for i in range(40)]
    boxes.write_text(json.dumps({"frames": rows}))
    result = annotate(video, "--weights", tiny, "--boxes", boxes, "--out", tmp_path / "p.json", "--quiet")
    assert result.exit_code == 0, result.output
    [pose] = read_coco_dataset(tmp_path / "p.json").poses
    assert np.abs(pose.boxes - [10, 5, 40, 60]).max() < 0.01


def test_corrupt_frames_finish_with_exit_3(video: Path, tmp_path: Path, tiny: Path) -> None:
    content = bytearray(video.read_bytes())
    middle = content.index(b"mdat") + len(content) // 3
    content[middle : middle + 200] = bytes(200)
    video.write_bytes(bytes(content))
    result = annotate(video, "--weights", tiny, "--detector", "full-frame", "--out", tmp_path / "p.json")
    assert result.exit_code == 3, result.output
    assert "warning: " in result.stderr
    annotation = read_coco_dataset(tmp_path / "p.json")
    assert len(annotation.frames) == 40
    assert annotation.frames.is_corrupt.any()


@pytest.mark.parametrize(
    ("name", "content"),
    [("text.mp4", b"this is no video\n" * 50), ("empty.mp4", b""), ("noise.avi", bytes(range(256)) * 20)],
)
def test_what_is_no_video_is_one_line(tmp_path: Path, tiny: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    result = annotate(path, "--weights", tiny, "--detector", "full-frame", "--out", tmp_path / "p.json")
    is_one_line_error(result, 5, name)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_audio_only_is_one_line(tmp_path: Path, tiny: Path, make_video: MakeVideo) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    result = annotate(path, "--weights", tiny, "--detector", "full-frame", "--out", tmp_path / "p.json")
    is_one_line_error(result, 5, "sound.mp4")


def test_missing_inputs_are_one_line(tmp_path: Path, tiny: Path) -> None:
    is_one_line_error(annotate(tmp_path / "no.mp4", "--out", tmp_path / "p.json"), 5, "no.mp4")
    empty = tmp_path / "folder"
    empty.mkdir()
    is_one_line_error(annotate(empty, "--weights", tiny, "--out", tmp_path / "p.json"), 5, "folder")


def test_outputs_that_cannot_be_written_are_one_line(video: Path, tmp_path: Path, tiny: Path) -> None:
    existing = tmp_path / "p.json"
    existing.write_text("mine")
    common = ("--weights", tiny, "--detector", "full-frame")
    is_one_line_error(annotate(video, *common, "--out", existing), 7, "p.json", "--overwrite")
    assert existing.read_text() == "mine"
    is_one_line_error(annotate(video, *common, "--out", tmp_path / "no" / "p.json"), 7, "does not exist")
    is_one_line_error(
        annotate(video, *common, "--out", tmp_path / "q.json", "--overlay", tmp_path / "no" / "o.mp4"), 7, "o.mp4"
    )
    assert not (tmp_path / "q.json").exists()


def test_weights_that_do_not_serve_are_one_line(video: Path, tmp_path: Path, tiny: Path) -> None:
    out = ("--detector", "full-frame", "--out", tmp_path / "p.json")
    is_one_line_error(annotate(video, "--weights", "no-such-model", *out), 4, "no-such-model")
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(tiny.read_bytes()[:5000])
    is_one_line_error(annotate(video, "--weights", corrupt, *out), 4, "corrupt.safetensors")


@pytest.mark.parametrize(
    ("options", "exit_code", "word"),
    [
        (["--detector", "magic"], 2, "magic"),
        (["--window-mode", "triple"], 2, "triple"),
        (["--persons", "tallest"], 2, "tallest"),
        (["--start", "abc"], 2, "--start"),
        (["--fps", "0"], 2, "fps '0'"),
        (["--start", "3", "--end", "2"], 2, "after start"),
        (["--hop", "9", "--detector", "full-frame"], 2, "hop 9"),
        (["--style", "baroque", "--detector", "full-frame", "--overlay", "o.mp4"], 2, "baroque"),
        (["--scan-backend", "abacus", "--detector", "full-frame"], 2, "abacus"),
        (["--scan-backend", "triton", "--detector", "full-frame"], 6, "triton"),
        (["--device", "cuda:9", "--detector", "full-frame"], 6, "cuda:9"),
        (["--start", "100", "--detector", "full-frame"], 5, "clip.mp4"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    video: Path,
    tmp_path: Path,
    tiny: Path,
    options: list[str],
    exit_code: int,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    is_one_line_error(annotate(video, "--weights", tiny, "--out", "p.json", *options), exit_code, word)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_goes_on_to_the_same_bytes(
    tmp_path: Path, tiny: Path, make_video: MakeVideo, how: signal.Signals
) -> None:
    video = make_video(tmp_path / "long.mp4", 900, (96, 64))

    def command(out: Path) -> list[str]:
        options = ["--weights", str(tiny), "--detector", "full-frame", "--out", str(out)]
        return [sys.executable, "-m", "posecli", "annotate", str(video), *options]

    whole, killed = tmp_path / "whole.json", tmp_path / "killed.json"
    subprocess.run(command(whole), check=True, capture_output=True)
    # what a shell starts in the background ignores interrupts, and so would its children
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command(killed), stderr=subprocess.PIPE, text=True, env=os.environ, preexec_fn=listens)
    journal = journal_path(killed)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.stat().st_size > 30_000):
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.005)
    process.send_signal(how)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    if how == signal.SIGINT:
        assert "goes on from there" in messages
        assert "Traceback" not in messages
    assert journal.exists()
    assert not killed.exists()
    again = subprocess.run(command(killed), check=True, capture_output=True, text=True)
    assert "went on from frame" in again.stderr
    assert killed.read_bytes() == whole.read_bytes()
    assert not journal.exists()
