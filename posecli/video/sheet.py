"""A contact sheet: a few annotated frames on one picture, for people who would rather look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from posecli.atomic import check_output, write_atomic
from posecli.errors import ConfigError, OutputError, VideoError
from posecli.records import Annotation, Frame, ImageArray, VideoInfo
from posecli.video.figure_panel import FigurePanel
from posecli.video.overlay import DrawnPose, draw_poses, draw_text, get_style
from posecli.video.render import annotated_frames, open_annotated
from posecli.video.stage import Stage, gap_for
from posecli.video.turntable import FRONT_RAD, SIDE_RAD

_CELL_PX = 480  # the longer side
_VIEW_ASPECT = 1.15  # height to width of a view in 3D
_LINE_PX = 2
_GAP_PX = 6
_BACKGROUND = 32


def contact_sheet(
    annotation: Annotation,
    out_path: Path,
    *,
    num_frames: int = 12,
    columns: int = 4,
    style: str = "default",
    min_score: float = 0.3,
    has_figures: bool = False,
    overwrite: bool = False,
    num_threads: int | None = None,
) -> None:
    """Write a grid of evenly spaced annotated frames, each with its number and time.

    Args:
        annotation: The result; ``annotation.video.path`` is decoded again.
        out_path: ``.png``, ``.jpg`` or ``.webp``.
        num_frames: How many frames, or all there are.
        columns: Frames side by side.
        style: One of `posecli.video.overlay.OVERLAY_STYLES`.
        min_score: Keypoints below it are not drawn.
        has_figures: Whether the people in 3D are shown below each frame, from the video's camera and from the side; where there are
            several, each view frames those of its frame.
        overwrite: Whether an existing file may be replaced.
        num_threads: Decoder threads; by default two where there are two processors.

    Raises:
        ConfigError: ``num_frames`` or ``columns`` is below 1, the style is unknown, or there are no 3D poses to show.
        VideoError: The video is gone, or has not the frames the annotation says.
        OutputError: The file exists already or cannot be written.
    """
    if num_frames < 1 or columns < 1:
        raise ConfigError(f"contact sheet of {num_frames} frames in {columns} columns: both must be at least 1")
    if out_path.suffix.lower() not in {".png", ".jpg", ".jpeg", ".webp"}:
        raise OutputError(f"{out_path}: cannot write {out_path.suffix or 'a file without suffix'}", hint="use .png")
    if len(annotation.frames) == 0:
        raise VideoError(f"{annotation.video.path}: no annotated frames to show")
    check_output(out_path, overwrite=overwrite)
    wanted = np.unique(np.linspace(0, len(annotation.frames) - 1, num_frames).round().astype(int))
    wanted_indices = set((wanted + annotation.first_frame_index).tolist())
    look = get_style(style)
    view_wh = _view_size(annotation.video)
    panel = FigurePanel(Stage(annotation, gap_mm=gap_for(view_wh)), view_wh) if has_figures else None
    cells = []
    with open_annotated(annotation, num_threads=num_threads) as source:
        for frame, poses in annotated_frames(annotation, source):
            if frame.index in wanted_indices:
                small, scaled = _shrink(frame.image, poses)
                cell = _caption(draw_poses(small, scaled, style=look, min_score=min_score), frame)
                cells.append(cell if panel is None else np.vstack([cell, _views(panel, frame.index, cell.shape[1])]))
    image = _grid(cells, columns)
    is_encoded, data = cv2.imencode(out_path.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not is_encoded:
        raise OutputError(f"{out_path}: cannot be encoded")
    write_atomic(out_path, data.tobytes(), overwrite=overwrite)


def _shrink(image: ImageArray, poses: list[DrawnPose]) -> tuple[ImageArray, list[DrawnPose]]:
    """Scaled before drawing, so that lines stay legible. Pixel edges fall on pixel edges: hence the half pixels."""
    height, width = image.shape[:2]
    size_wh, factor = _cell_size(width, height)
    scale = np.array(size_wh, np.float32) / (width, height)
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    scaled = [
        replace(
            pose,
            keypoints=((pose.keypoints + 0.5) * scale - 0.5).astype(np.float32),
            box=None if pose.box is None else ((pose.box + 0.5) * np.tile(scale, 2) - 0.5).astype(np.float32),
        )
        for pose in poses
    ]
    return small.astype(np.uint8, copy=False), scaled


def _cell_size(width: int, height: int) -> tuple[tuple[int, int], float]:
    factor = _CELL_PX / max(height, width)
    return (max(round(width * factor), 1), max(round(height * factor), 1)), factor


def _view_size(video: VideoInfo) -> tuple[int, int]:
    """Two views and a line between them are as wide as a frame."""
    (width, _), _ = _cell_size(video.width_px, video.height_px)
    return max((width - _LINE_PX) // 2, 1), max(round(width / 2 * _VIEW_ASPECT), 1)


def _views(panel: FigurePanel, frame_index: int, width: int) -> ImageArray:
    views = []
    for name, azimuth_rad in (("front", FRONT_RAD), ("side", SIDE_RAD)):
        view = panel.close_up(frame_index, azimuth_rad).draw(frame_index, azimuth_rad)
        draw_text(view, name, (0, view.shape[0] - 1), text_px=10, background=(0, 0, 0))
        views.append(view)
    both = np.full((views[0].shape[0], width, 3), _BACKGROUND, np.uint8)
    both[:, : views[0].shape[1]] = views[0]
    both[:, -views[1].shape[1] :] = views[1]
    return both


def _caption(image: ImageArray, frame: Frame) -> ImageArray:
    minutes, seconds = divmod(frame.time_s, 60)
    text = f"{int(minutes)}:{seconds:06.3f}  frame {frame.index}" + ("  corrupt" if frame.status == "corrupt" else "")
    draw_text(image, text, (0, image.shape[0] - 1), text_px=12, background=(0, 0, 0))
    return image


def _grid(cells: list[ImageArray], columns: int) -> ImageArray:
    height, width = cells[0].shape[:2]
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    step_y, step_x = height + _GAP_PX, width + _GAP_PX
    sheet = np.full((rows * step_y + _GAP_PX, columns * step_x + _GAP_PX, 3), _BACKGROUND, np.uint8)
    for k, cell in enumerate(cells):
        top, left = k // columns * step_y + _GAP_PX, k % columns * step_x + _GAP_PX
        sheet[top : top + height, left : left + width] = cell
    return sheet
