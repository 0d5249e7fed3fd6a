"""Video and sheet with the figures beside and below."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.records import Annotation, FrameTable
from posecli.video.overlay import SIDE_COLOURS
from posecli.video.render import render_overlay
from posecli.video.sheet import contact_sheet
from posecli.video.source import open_source

PICTURE = np.full((120, 160, 3), 90, np.uint8)
NUM_FRAMES = 24


def _annotate(path: Path, person_3d) -> Annotation:
    with open_source(path) as source:
        frames = [(frame.pts, frame.time_s) for frame in source.frames()]
        info = source.info
    count = len(frames)
    table = FrameTable(np.array([f[0] for f in frames]), np.array([f[1] for f in frames]), np.zeros(count, bool))
    person = person_3d(count, path_mm=np.tile([0.0, 900.0, 4000.0], (count, 1)))
    return Annotation(info, table, (), poses_3d=(person,))


@pytest.fixture
def annotation(tmp_path, make_video, person_3d) -> Annotation:
    video = make_video(
        tmp_path / "grey.mp4", NUM_FRAMES, (160, 120), fps=5, audio_codec="aac", picture=lambda _: PICTURE
    )
    return _annotate(video, person_3d)


def _decode(path: Path) -> list[np.ndarray]:
    with open_source(path) as source:
        return [frame.image.astype(int) for frame in source.frames()]


def _blue(image: np.ndarray) -> np.ndarray:
    return np.argwhere(np.abs(image - SIDE_COLOURS["left"]).max(axis=2) < 70)


def test_the_figure_turns_beside_the_video(tmp_path, annotation) -> None:
    out = tmp_path / "out.mp4"
    done: list[int] = []
    assert render_overlay(annotation, out, crf=5, has_figures=True, progress=done.append) == []
    images = _decode(out)
    assert len(images) == NUM_FRAMES == done[-1]
    assert {image.shape for image in images} == {(120, 320, 3)}
    assert all(np.abs(image[:, :156] - 90).max() < 8 for image in images)
    # From the front the person's left is on the right; after half a turn (4 s, 20 frames) on the left; the camera keeps its distance.
    front, back = (_blue(images[k])[:, 1].mean() - 160 - 79.5 for k in (0, 20))
    assert front > 2
    assert back == pytest.approx(-front, abs=1.5)
    heights = [np.ptp(np.argwhere(image[:, 160:].max(axis=2) > 170)[:, 0]) for image in images]
    assert min(heights) > 70
    assert max(heights) - min(heights) <= 8


def test_times_and_sound_are_those_of_the_plain_overlay(tmp_path, annotation) -> None:
    def facts(path: Path) -> tuple[list[float], list[bytes]]:
        with open_source(path) as source:
            times = [frame.time_s for frame in source.frames()]
        with av.open(str(path)) as container:
            return times, [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    plain, wide = tmp_path / "plain.mp4", tmp_path / "wide.mp4"
    render_overlay(annotation, plain)
    render_overlay(annotation, wide, has_figures=True)
    assert facts(plain) == facts(wide)


def test_odd_sides_are_made_even(tmp_path, person_3d) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(3):
        cv2.imwrite(str(folder / f"{k}.png"), np.full((61, 81, 3), 90, np.uint8))
    out = tmp_path / "out.mp4"
    render_overlay(_annotate(folder, person_3d), out, has_figures=True)
    assert [image.shape for image in _decode(out)] == [(62, 162, 3)] * 3


def test_without_3d_poses_nothing_is_written(tmp_path, annotation) -> None:
    flat = replace(annotation, poses_3d=())
    with pytest.raises(ConfigError, match="no 3D poses"):
        render_overlay(flat, tmp_path / "out.mp4", has_figures=True)
    with pytest.raises(ConfigError, match="no 3D poses"):
        contact_sheet(flat, tmp_path / "sheet.png", has_figures=True)
    assert [path.name for path in tmp_path.iterdir()] == ["grey.mp4"]


def test_the_sheet_shows_front_and_side_below_every_frame(tmp_path, annotation) -> None:
    contact_sheet(annotation, tmp_path / "sheet.png", num_frames=3, columns=3, has_figures=True)
    (image,) = _decode(tmp_path / "sheet.png")
    height = 360 + 276
    assert image.shape == (height + 12, 3 * 486 + 6, 3)
    for k in range(3):
        cell = image[6 : 6 + height, 6 + k * 486 : 6 + k * 486 + 480]
        assert np.abs(cell[:330] - 90).max() < 8
        assert cell[-3:, 1:3].max() == 0  # the caption's background
        assert cell[-3:, 242:244].max() == 0
        front, side = cell[360:, :239], cell[360:, 241:]
        for view in (front, side):
            assert len(_blue(view)) > 100
        # Who stands face to the camera is wide from the front and narrow from the side, where a swung arm may show.
        widths = [np.ptp(np.argwhere(view[60:110].max(axis=2) > 120)[:, 1]) for view in (front, side)]
        assert widths[0] > 1.5 * widths[1]
