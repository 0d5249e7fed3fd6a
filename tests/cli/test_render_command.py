"""``posecli render``: a poses file drawn over its video."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app
from posecli.formats.coco import write_coco_dataset
from posecli.records import Annotation, FrameTable, PoseSequence, PoseSequence3D
from posecli.skeletons import H36M17, get_skeleton
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
def annotation(video: Path) -> Annotation:
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
    return Annotation(video=info, frames=table, poses=(person,))


@pytest.fixture
def poses(annotation: Annotation, tmp_path: Path) -> Path:
    path = tmp_path / "poses.json"
    write_coco_dataset(annotation, path, overwrite=False)
    return path


@pytest.fixture
def poses_3d(annotation: Annotation, tmp_path: Path) -> Path:
    """The same person as a star of limbs in 3D."""
    joints = np.random.default_rng(0).uniform(-500, 500, (1, len(H36M17), 3))
    joints[:, 0] = 0
    star = PoseSequence3D(
        track_id=1,
        skeleton="h36m17",
        frame_indices=np.arange(NUM_FRAMES),
        joints_mm=np.repeat(joints, NUM_FRAMES, axis=0).astype(np.float32),
        root_mm=np.full((NUM_FRAMES, 3), np.nan, np.float32),
        scores=np.ones((NUM_FRAMES, len(H36M17)), np.float32),
    )
    path = tmp_path / "poses_3d.json"
    write_coco_dataset(dataclasses.replace(annotation, poses_3d=(star,)), path, overwrite=False)
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


def test_3d_doubles_the_width_and_keeps_the_video_on_the_left(poses_3d: Path, tmp_path: Path) -> None:
    plain, wide = tmp_path / "plain.mp4", tmp_path / "wide.mp4"
    assert run(str(poses_3d), "--out", str(plain), "--crf", "5").exit_code == 0
    result = run(str(poses_3d), "--out", str(wide), "--crf", "5", "--3d")
    assert result.exit_code == 0, result.stderr
    assert (result.stdout, result.stderr) == ("", f"wrote {wide}\n")
    images = decoded(wide)
    assert [image.shape for image in images] == [(96, 256, 3)] * NUM_FRAMES
    for image, left in zip(images, decoded(plain), strict=True):
        assert np.abs(image[:, :120].astype(int) - left[:, :120]).mean() < 2
        assert image[:, 136:].max() > 180
        assert np.median(image[:, 136:]) < 90


def test_a_sheet_with_3d_is_taller(poses_3d: Path, tmp_path: Path) -> None:
    flat, deep = tmp_path / "flat.png", tmp_path / "deep.png"
    assert run(str(poses_3d), "--sheet", str(flat)).exit_code == 0
    result = run(str(poses_3d), "--sheet", str(deep), "--3d")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {deep}\n")
    (without,), (with_3d,) = decoded(flat), decoded(deep)
    assert with_3d.shape[1] == without.shape[1]
    assert with_3d.shape[0] > without.shape[0] + 200
    assert np.array_equal(with_3d[:300, :480], without[:300, :480])


def test_video_and_sheet_can_be_written_at_once(poses_3d: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "overlay.mp4", tmp_path / "sheet.png"
    result = run(str(poses_3d), "--out", str(out), "--sheet", str(sheet))
    assert (result.exit_code, result.stderr) == (0, f"wrote {out}\nwrote {sheet}\n")
    assert len(decoded(out)) == NUM_FRAMES
    assert len(decoded(sheet)) == 1


def test_3d_of_poses_that_were_not_lifted_names_the_remedy(poses: Path, tmp_path: Path) -> None:
    for option, name in (("--out", "overlay.mp4"), ("--sheet", "sheet.png")):
        result = run(str(poses), option, str(tmp_path / name), "--3d")
        assert result.exit_code == 5
        assert result.stderr == f"error: {poses}: has no 3D poses\nhint: posecli lift {poses} estimates them\n"
        assert not (tmp_path / name).exists()


def test_nothing_to_write_is_an_error(poses: Path) -> None:
    result = run(str(poses))
    assert result.exit_code == 2
    assert result.stderr == "error: nothing to write\nhint: pass --out overlay.mp4, --sheet sheet.png, or both\n"


def test_an_existing_sheet_is_refused_before_the_video_is_drawn(poses: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "overlay.mp4", tmp_path / "sheet.png"
    sheet.write_bytes(b"precious")
    result = run(str(poses), "--out", str(out), "--sheet", str(sheet))
    assert result.exit_code == 7
    assert not out.exists()
