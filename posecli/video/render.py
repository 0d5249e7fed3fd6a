"""Pass 3: decode once more, draw what was found, encode with the source's timestamps and sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from posecli.errors import VideoError
from posecli.records import Annotation, Frame
from posecli.skeletons import get_skeleton
from posecli.video.figure_panel import FigurePanel
from posecli.video.image_source import DEFAULT_FPS
from posecli.video.overlay import DrawnPose, draw_poses, get_style
from posecli.video.sink import VideoSink
from posecli.video.source import Source, open_source
from posecli.video.stage import Stage, gap_for
from posecli.video.turntable import turn_rad

# Stored times may be rounded; decoding begins a little earlier and goes by frame numbers.
_LEAD_IN_S = 0.5


def render_overlay(
    annotation: Annotation,
    out_path: Path,
    *,
    style: str = "default",
    overwrite: bool = False,
    min_score: float = 0.3,
    crf: int = 20,
    has_audio: bool = True,
    has_figures: bool = False,
    num_threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Write the annotated video with the poses drawn on it.

    Args:
        annotation: The result; ``annotation.video.path`` is decoded again, the frames the annotation covers are drawn.
        out_path: ``.mp4`` or ``.mkv``.
        style: One of `posecli.video.overlay.OVERLAY_STYLES`.
        overwrite: Whether an existing file may be replaced.
        min_score: Keypoints below it are not drawn.
        crf: Quality of the encoder, 0 (lossless) to 51.
        has_audio: Whether the sound is copied.
        has_figures: Whether the people in 3D are shown beside it, in a panel as large as the video, seen by a camera that turns
            around them; ``min_score`` and ``style`` do not concern them.
        num_threads: Decoder threads, and as many encoder threads; by default two each where there are two processors.
        progress: Called with the number of frames done after each.

    Returns:
        What was odd, one line each.

    Raises:
        VideoError: The video is gone, or has not the frames the annotation says.
        OutputError: The file exists already or cannot be written.
        ConfigError: The style is unknown, or the annotation has no 3D poses to show.
    """
    look = get_style(style)
    video = annotation.video
    size_wh = (video.width_px, video.height_px)
    panel = FigurePanel(Stage(annotation, gap_mm=gap_for(size_wh)), size_wh) if has_figures else None
    with open_annotated(annotation, num_threads=num_threads) as source:
        sink = VideoSink(
            out_path,
            size_wh=(size_wh[0] * (1 if panel is None else 2), size_wh[1]),
            time_base=source.info.time_base,
            fps=source.info.fps,
            crf=crf,
            audio_from=video.path if has_audio and source.info.has_audio else None,
            trim_audio=_is_cut(annotation, source),
            overwrite=overwrite,
            num_threads=num_threads,
        )
        with sink:
            zero_pts: int | None = None
            for count, (frame, poses) in enumerate(annotated_frames(annotation, source), 1):
                ticks = round(frame.time_s / source.info.time_base)
                if zero_pts is None:
                    zero_pts = (frame.pts or 0) - ticks
                # Not frame.pts: time_s is the same clock where that is sane, and ascends where it is not.
                image = draw_poses(frame.image, poses, style=look, min_score=min_score)
                if panel is not None:
                    turned_rad = turn_rad(frame.time_s - float(annotation.frames.time_s[0]))
                    image = np.hstack([image, panel.draw(frame.index, turned_rad)])
                sink.write(image, zero_pts + ticks)
                if progress is not None:
                    progress(count)
        return [*source.warnings, *sink.warnings]


def open_annotated(annotation: Annotation, *, num_threads: int | None = None) -> Source:
    """The video of an annotation, opened a little before the frames it covers.

    Raises:
        VideoError: It is gone, unreadable, or of another size.
    """
    video = annotation.video
    start_s = None
    if annotation.first_frame_index and len(annotation.frames):
        start_s = max(float(annotation.frames.time_s[0]) - _LEAD_IN_S, 0.0)
    source = open_source(video.path, start_s=start_s, num_threads=num_threads, image_fps=video.fps or DEFAULT_FPS)
    found_wh = (source.info.width_px, source.info.height_px)
    if found_wh != (video.width_px, video.height_px):
        what = f"{video.path}: is {found_wh[0]}x{found_wh[1]}, was annotated at {video.width_px}x{video.height_px}"
        raise VideoError(what, hint="this is another video than the one that was annotated")
    return source


def annotated_frames(annotation: Annotation, source: Source) -> Iterator[tuple[Frame, list[DrawnPose]]]:
    """The frames an annotation covers, each with its poses.

    Raises:
        VideoError: The video ends before, or has other timestamps.
    """
    first, count = annotation.first_frame_index, len(annotation.frames)
    rows = 0
    for frame in source.frames():
        if frame.index < first:
            continue
        if rows == count:
            break
        if frame.index != first + rows or frame.pts != int(annotation.frames.pts[rows]):
            what = f"{annotation.video.path}: frame {frame.index} has pts {frame.pts}, annotated was {annotation.frames.pts[rows]}"
            raise VideoError(what, hint="this is another video than the one that was annotated")
        yield frame, poses_at(annotation, frame.index)
        rows += 1
    if rows < count:
        what = f"{annotation.video.path}: has {first + rows} frames, annotated were {first + count}"
        raise VideoError(what, hint="this is another video than the one that was annotated, or it was cut off since")


def poses_at(annotation: Annotation, frame_index: int) -> list[DrawnPose]:
    """The poses of one frame, by track."""
    found = []
    for poses in annotation.poses:
        row = int(np.searchsorted(poses.frame_indices, frame_index))
        if row == len(poses) or poses.frame_indices[row] != frame_index:
            continue
        found.append(
            DrawnPose(
                track_id=poses.track_id,
                keypoints=poses.keypoints[row],
                scores=poses.scores[row],
                box=poses.boxes[row],
                skeleton=get_skeleton(poses.skeleton),
                interpolated=bool(poses.interpolated[row]),
            )
        )
    return found


def _is_cut(annotation: Annotation, source: Source) -> bool:
    """Whether the annotation covers only a part, so that the sound must be cut too."""
    promised = source.info.num_frames_from_header
    count = annotation.first_frame_index + len(annotation.frames)
    if annotation.first_frame_index > 0 or promised is not None:
        return annotation.first_frame_index > 0 or count < (promised or 0)
    duration_s = source.info.duration_s
    last_s = float(annotation.frames.time_s[-1]) if count else 0.0
    return duration_s is not None and last_s < duration_s - 1.0
