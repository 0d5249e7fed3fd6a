"""``posecli render``: a poses file drawn over its video."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app
from posecli.formats.coco import write_coco_dataset
from posecli.records import Annotation, FrameTable, PoseSequence
from posecli.skeletons import get_skeleton
from posecli.video.source import open_source

NUM_FRAMES = 5
SKELETON = "coco17"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for _ in range(NUM_FRAMES):
            image = np.full((96, 128, 3), 100, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def poses(video: Path, tmp_path: Path) -> Path:
    """One person in every frame, all keypoints around the middle."""
    with open_source(video) as source:
        frames = list(source.frames())
        info = source.info
    num_keypoints = len(get_skeleton(SKELETON))
    angles = np.linspace(0, 2 * np.pi, num_keypoints, endpoint=False)
    ring = np.stack([64 + 30 * np.cos(angles), 48 + 30 * np.sin(angles)], axis=-1)
    keypoints = np.repeat(ring[None].astype(np.float32), NUM_FRAMES, axis=0)
    person = PoseSequence(
        track_id=1,
        skeleton=SKELETON,
        frame_indices=np.arange(NUM_FRAMES),
        keypoints=keypoints,
        raw_keypoints=keypoints,
        scores=np.full((NUM_FRAMES, num_keypoints), 0.6, np.float32),
        boxes=np.tile(np.array([30, 15, 98, 81], np.float32), (NUM_FRAMES, 1)),
        box_scores=np.ones(NUM_FRAMES, np.float32),
        interpolated=np.zeros(NUM_FRAMES, bool),
    )
    table = FrameTable(
        pts=np.array([frame.pts for frame in frames]),
        time_s=np.array([frame.time_s for frame in frames]),
        is_corrupt=np.zeros(NUM_FRAMES, bool),
    )
    path = tmp_path / "poses.json"
    write_coco_dataset(Annotation(video=info, frames=table, poses=(person,)), path, overwrite=False)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["render", *arguments], prog_name="posecli")


def decoded(path: Path) -> list[np.ndarray]:
    with open_source(path) as source:
        return [frame.image for frame in source.frames()]


def test_render_draws_the_person_in_every_frame(poses: Path, tmp_path: Path) -> None:
    out = tmp_path / "overlay.mp4"
    result = run(str(poses), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert (result.stdout, result.stderr) == ("", f"wrote {out}\n")
    images = decoded(out)
    assert len(images) == NUM_FRAMES
    for image in images:
        assert np.abs(image[15:81, 30:98].astype(int) - 100).max() > 60
        assert np.abs(image[88:, 110:].astype(int) - 100).max() < 12


def test_points_below_the_threshold_are_not_drawn(poses: Path, tmp_path: Path) -> None:
    drawn, bare = tmp_path / "drawn.mp4", tmp_path / "bare.mp4"
    assert run(str(poses), "--out", str(drawn), "--style", "skeleton", "--min-score", "0.5").exit_code == 0
    assert run(str(poses), "--out", str(bare), "--style", "skeleton", "--min-score", "0.7", "--quiet").exit_code == 0
    assert decoded(drawn)[0][20:76, 36:92].max() > 100
    assert decoded(bare)[0][40:56, 56:72].max() < 40


def test_render_refuses_an_existing_file_before_reading_anything(poses: Path, tmp_path: Path) -> None:
    out = tmp_path / "overlay.mp4"
    out.write_bytes(b"precious")
    result = run(str(tmp_path / "no-poses.json"), "--out", str(out))
    assert result.exit_code == 7
    assert result.stderr == f"error: {out}: exists already\nhint: pass --overwrite to replace it\n"
    assert out.read_bytes() == b"precious"
    assert run(str(poses), "--out", str(out), "--overwrite").exit_code == 0
    assert len(decoded(out)) == NUM_FRAMES


def test_a_moved_video_is_given_by_hand(poses: Path, video: Path, tmp_path: Path) -> None:
    moved = video.rename(tmp_path / "moved.mp4")
    out = tmp_path / "overlay.mp4"
    result = run(str(poses), "--out", str(out))
    assert result.exit_code == 5
    assert str(video) in result.stderr
    assert run(str(poses), "--out", str(out), "--video", str(moved)).exit_code == 0


def test_an_unknown_style_lists_the_known_ones(poses: Path, tmp_path: Path) -> None:
    result = run(str(poses), "--out", str(tmp_path / "overlay.mp4"), "--style", "fancy")
    assert result.exit_code == 2
    assert "hint: one of default, thin, bold, skeleton" in result.stderr
