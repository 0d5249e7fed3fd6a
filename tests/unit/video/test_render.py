"""From an annotation back to pictures: a known dot on a known path."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from posecli.errors import ConfigError, OutputError, VideoError
from posecli.records import Annotation, FrameTable, PoseSequence
from posecli.skeletons import POSECLI19
from posecli.video.overlay import SIDE_COLOURS
from posecli.video.render import render_overlay
from posecli.video.sheet import contact_sheet
from posecli.video.source import open_source

SIZE = (160, 120)


def _dot(frame_index: int) -> tuple[float, float]:
    return 30.0 + 2 * frame_index, 60.0


def _annotate(path: Path, *, every: int = 1, **range_s) -> Annotation:
    """As the pipeline would: one person, whose left knee is the dot, in every n-th frame."""
    with open_source(path, **range_s) as source:
        frames = [(f.index, f.pts, f.time_s, f.status == "corrupt") for f in source.frames()]
        info = source.info
    index = np.array([f[0] for f in frames if f[0] % every == 0])
    keypoints = np.full((len(index), len(POSECLI19), 2), np.nan, np.float32)
    scores = np.zeros((len(index), len(POSECLI19)), np.float32)
    knee = POSECLI19.index("left_knee")
    keypoints[:, knee] = [_dot(int(k)) for k in index]
    scores[:, knee] = 1.0
    boxes = np.tile(np.array([5, 15, 155, 110], np.float32), (len(index), 1))
    poses = PoseSequence(
        3,
        "posecli19",
        index,
        keypoints,
        keypoints,
        scores,
        boxes,
        np.ones(len(index), np.float32),
        np.zeros(len(index), bool),
    )
    table = FrameTable(
        np.array([f[1] for f in frames]), np.array([f[2] for f in frames]), np.array([f[3] for f in frames])
    )
    return Annotation(info, table, (poses,), first_frame_index=frames[0][0])


def _lit(image: np.ndarray) -> tuple[float, float] | None:
    """The middle of the pixels in the left side's colour."""
    near = np.abs(image.astype(int) - SIDE_COLOURS["left"]).max(axis=2) < 60
    ys, xs = np.nonzero(near)
    return (float(xs.mean()), float(ys.mean())) if len(xs) else None


@pytest.fixture
def grey_video(tmp_path, make_video):
    return make_video(
        tmp_path / "source.mp4", 40, SIZE, audio_codec="aac", picture=lambda _: np.full((120, 160, 3), 90, np.uint8)
    )


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(audio=0) if p.size]


def test_the_dot_is_where_it_was_found(tmp_path, grey_video):
    done: list[int] = []
    warnings = render_overlay(_annotate(grey_video), tmp_path / "out.mp4", crf=5, progress=done.append)
    assert warnings == []
    assert done == list(range(1, 41))
    with open_source(tmp_path / "out.mp4") as source:
        for frame in source.frames():
            assert _lit(frame.image) == pytest.approx(_dot(frame.index), abs=0.6)
            assert frame.time_s == pytest.approx(frame.index / 25)
    assert frame.index == 39
    assert _packets(tmp_path / "out.mp4") == _packets(grey_video)


def test_frames_without_people_stay_plain(tmp_path, grey_video):
    render_overlay(_annotate(grey_video, every=10), tmp_path / "out.mp4", crf=5)
    with open_source(tmp_path / "out.mp4") as source:
        assert [_lit(f.image) is not None for f in source.frames()] == [k % 10 == 0 for k in range(40)]


def test_a_variable_clock_is_kept(tmp_path, make_video):
    pts = [0, 10, 50, 55, 90, 200, 210]
    source = make_video(tmp_path / "vfr.mkv", 7, SIZE, pts=pts, time_base=Fraction(1, 1000))
    warnings = render_overlay(_annotate(source), tmp_path / "out.mp4")
    assert [w.split(":")[0] for w in warnings] == ["variable frame rate"]
    with open_source(tmp_path / "out.mp4") as result:
        assert [f.time_s for f in result.frames()] == pytest.approx([p / 1000 for p in pts], abs=1e-12)


def test_a_part_is_drawn_with_its_own_frames_and_sound(tmp_path, grey_video):
    annotation = _annotate(grey_video, start_s=0.6, end_s=1.2)
    assert annotation.first_frame_index == 15
    render_overlay(annotation, tmp_path / "out.mp4", crf=5)
    with open_source(tmp_path / "out.mp4") as source:
        frames = [(_lit(f.image), f.time_s) for f in source.frames()]
    assert [t for _, t in frames] == pytest.approx([k / 25 for k in range(15)])
    assert all(dot == pytest.approx(_dot(15 + k), abs=0.6) for k, (dot, _) in enumerate(frames))
    whole, part = _packets(grey_video), _packets(tmp_path / "out.mp4")
    assert 0 < len(part) < len(whole)
    assert b"".join(part) in b"".join(whole)


def test_sound_can_be_left_out(tmp_path, grey_video):
    render_overlay(_annotate(grey_video), tmp_path / "out.mp4", has_audio=False)
    with open_source(tmp_path / "out.mp4") as source:
        assert not source.info.has_audio


def test_a_folder_of_images_can_be_drawn(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((120, 160, 3), 90, np.uint8))
    render_overlay(_annotate(folder), tmp_path / "out.mp4", crf=5)
    with open_source(tmp_path / "out.mp4") as source:
        assert [round(f.time_s * 30) for f in source.frames()] == [0, 1, 2]


def test_a_shorter_video_is_refused(tmp_path, grey_video, make_video):
    annotation = _annotate(grey_video)
    make_video(grey_video, 30, SIZE)
    with pytest.raises(VideoError, match="has 30 frames, annotated were 40"):
        render_overlay(annotation, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_of_another_clock_or_size_is_refused(tmp_path, grey_video, make_video):
    annotation = _annotate(grey_video)
    make_video(grey_video, 40, SIZE, fps=10)
    with pytest.raises(VideoError, match="annotated was"):
        render_overlay(annotation, tmp_path / "out.mp4")
    make_video(grey_video, 40, (64, 48))
    with pytest.raises(VideoError, match="is 64x48, was annotated at 160x120"):
        render_overlay(annotation, tmp_path / "out.mp4")


def test_wrong_wishes_are_refused_before_work(tmp_path, grey_video):
    annotation = _annotate(grey_video)
    with pytest.raises(ConfigError, match="unknown overlay style"):
        render_overlay(annotation, tmp_path / "out.mp4", style="pretty")
    (tmp_path / "out.mp4").write_text("x")
    with pytest.raises(OutputError, match="exists already"):
        render_overlay(annotation, tmp_path / "out.mp4")


def _load(path: Path) -> np.ndarray:
    with open_source(path) as source:
        return next(source.frames()).image


def test_the_contact_sheet_shows_evenly_spaced_frames(tmp_path, grey_video):
    contact_sheet(_annotate(grey_video), tmp_path / "sheet.png", num_frames=5, columns=3)
    image = _load(tmp_path / "sheet.png")
    assert image.shape == (2 * 366 + 6, 3 * 486 + 6, 3)
    for k, index in enumerate((0, 10, 20, 29, 39)):
        top, left = k // 3 * 366 + 6, k % 3 * 486 + 6
        cell = image[top : top + 360, left : left + 480]
        wanted = (np.array(_dot(index)) + 0.5) * 3 - 0.5
        assert _lit(cell) == pytest.approx(tuple(wanted), abs=1.0)
        assert cell[-3:, :3].max() == 0  # the caption's background


def test_a_sheet_of_few_frames_is_small(tmp_path, grey_video):
    contact_sheet(_annotate(grey_video, start_s=0.0, end_s=0.08), tmp_path / "sheet.png")
    assert _load(tmp_path / "sheet.png").shape == (372, 2 * 486 + 6, 3)


def test_a_sheet_refuses_what_it_cannot_do(tmp_path, grey_video):
    annotation = _annotate(grey_video)
    with pytest.raises(ConfigError, match="contact sheet of 0 frames"):
        contact_sheet(annotation, tmp_path / "sheet.png", num_frames=0)
    with pytest.raises(OutputError, match=r"cannot write \.pdf"):
        contact_sheet(annotation, tmp_path / "sheet.pdf")
    (tmp_path / "sheet.png").write_text("x")
    with pytest.raises(OutputError, match="exists already"):
        contact_sheet(annotation, tmp_path / "sheet.png")
