"""``posecli info`` and ``posecli render`` on a small video made here."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app

NUM_FRAMES = 7


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(NUM_FRAMES):
            image = np.full((48, 64, 3), 30 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="posecli")


def test_info_as_json(video: Path) -> None:
    facts = json.loads(run("info", str(video), "--json").stdout)
    assert (facts["width_px"], facts["height_px"], facts["fps"]) == (64, 48, "30000/1001")
    assert facts["path"] == str(video)
    assert "num_frames_decoded" not in facts


def test_info_counts_what_is_really_there(video: Path) -> None:
    result = run("info", str(video), "--count")
    assert result.exit_code == 0
    assert result.stderr == ""
    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert shown["num_frames_decoded"] == str(NUM_FRAMES)
    assert shown["num_frames_corrupt"] == "0"
    assert shown["has_audio"] == "False"


def test_info_on_something_else_exits_5(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    result = run("info", str(path))
    assert result.exit_code == 5
    assert result.stderr.startswith(f"error: {path}: ")
    assert result.stdout == ""


def test_info_says_when_frames_are_corrupt(video: Path) -> None:
    with av.open(str(video)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None]
    content = bytearray(video.read_bytes())
    position, size = packets[3]
    content[position + 4 : position + size] = b"\xff" * (
        size - 4
    )  # the length in front stays, so that the others survive
    video.write_bytes(content)
    result = run("info", str(video), "--count", "--json")
    facts = json.loads(result.stdout)
    assert facts["num_frames_decoded"] == NUM_FRAMES
    assert facts["num_frames_corrupt"] > 0
    assert result.exit_code == 3
    assert "warning: " in result.stderr
