"""The script that draws posecli beside MediaPipe: which frame, which part of it, and that poses stay on their pixels."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from posecli.skeletons import COCO17
from posecli.video.overlay import DrawnPose

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "compare_pictures.py"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))  # it imports what lies beside it
        yield load()


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compare_pictures", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def pose_at(x: float, y: float, *, score: float = 0.9) -> DrawnPose:
    points = np.full((17, 2), np.nan, np.float32)
    points[5] = x, y
    return DrawnPose(0, points, np.full(17, score, np.float32), None, COCO17)


@pytest.mark.parametrize(
    ("text", "num_frames", "index", "num_people"),
    [("a.mp4:0", 1, 0, 1), ("a.mp4:40%", 230, 92, 1), ("b:c.mkv:100%:3", 90, 89, 3), ("a.mp4:7:2", 8, 7, 2)],
)
def test_a_choice_names_a_frame(script: ModuleType, text: str, num_frames: int, index: int, num_people: int) -> None:
    choice = script.Choice.parse(text)
    assert choice.video == Path(text[: text.index(".") + 4])
    assert (choice.index(num_frames), choice.num_people) == (index, num_people)


@pytest.mark.parametrize("text", ["a.mp4", "a.mp4:", "a.mp4:-1", "a.mp4:101%", "a.mp4:1:0", ":3"])
def test_what_names_no_frame_is_refused(script: ModuleType, text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="VIDEO:FRAME"):
        script.Choice.parse(text)


def test_a_frame_behind_the_end_is_refused(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="only 8 frames"):
        script.Choice.parse("a.mp4:8").index(8)


@pytest.mark.parametrize("size_wh", [(1280, 720), (1088, 1920)])
def test_the_view_holds_what_either_draws_and_nothing_outside(script: ModuleType, size_wh: tuple[int, int]) -> None:
    row = script.Row(np.zeros((*size_wh[::-1], 3), np.uint8), ([pose_at(300, 200)], [pose_at(420, 640)]), ("", ""))
    left, top, right, bottom = script.view_of(script.shown_points(row), size_wh)
    assert 0 <= left < 300 and 420 < right <= size_wh[0]
    assert 0 <= top < 200 and 640 < bottom <= size_wh[1]
    assert (right - left) / (bottom - top) == pytest.approx(script.ASPECT, abs=0.01)


def test_a_speck_is_not_blown_up(script: ModuleType) -> None:
    left, top, right, bottom = script.view_of(np.array([[1279.0, 719.0]]), (1280, 720))
    assert (right, bottom) == (1280, 720)
    assert right - left >= 432 and bottom - top >= 288


def test_without_people_all_is_shown(script: ModuleType) -> None:
    row = script.Row(np.zeros((720, 1280, 3), np.uint8), ([], []), ("", ""))
    assert script.view_of(script.shown_points(row), (1280, 720)) == (0, 0, 1280, 720)


def test_each_side_leaves_out_what_its_own_drawing_leaves_out(script: ModuleType) -> None:
    person = np.concatenate([pose_at(300, 200).keypoints, np.full((17, 1), 0.4)], axis=1)
    assert np.isnan(script.drawn([person])[0].keypoints).all()
    assert script.as_coco(pose_at(300, 200, score=0.4)).keypoints[5].tolist() == [300, 200]
    assert np.isnan(script.as_coco(pose_at(300, 200, score=0.2)).keypoints).all()


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_poses_stay_on_their_pixels(script: ModuleType, factor: float) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[66:70, 90:94] = 255  # centred on (91.5, 67.5)
    small, (moved,) = script.cut(image, [pose_at(91.5, 67.5)], (40, 20, 140, 100), (int(100 * factor), 10_000))
    ys, xs = np.nonzero(small[..., 0] > 127)
    assert moved.keypoints[5] == pytest.approx([xs.mean(), ys.mean()], abs=0.01)


def test_the_file_is_as_wide_as_its_bytes_allow(script: ModuleType) -> None:
    content, width_px = script.largest_fitting(lambda width_px: bytes(width_px**2), 1_000_000)
    assert 960 <= width_px <= 1000
    assert len(content) == width_px**2
    assert script.largest_fitting(lambda width_px: bytes(width_px), 1_000_000)[1] == script.WIDEST_PX
    with pytest.raises(SystemExit, match="too few"):
        script.largest_fitting(lambda width_px: bytes(2000), 1000)


def test_a_picture_has_a_row_a_frame_and_the_poses_of_both(script: ModuleType) -> None:
    image = np.full((90, 120, 3), 128, np.uint8)
    rows = [script.Row(image, ([pose_at(50, 40)], []), ("walk, frame 3", ""))] * 2
    sheet = script.compose(rows, ("posecli", "the other"), 400)
    cell_wh = (197, 131)
    assert sheet.shape == (2 * (cell_wh[1] + script.GAP_PX) + 27, 400, 3)  # 27: the line below
    left, right = sheet[: cell_wh[1], : cell_wh[0]], sheet[: cell_wh[1], -cell_wh[0] :]
    blue = np.array([70, 170, 255])
    assert (np.abs(left.astype(int) - blue).max(axis=-1) < 20).any()
    assert not (np.abs(right.astype(int) - blue).max(axis=-1) < 20).any()
