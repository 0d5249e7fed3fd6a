"""Values passed between stages: frozen, NumPy at the borders.

Legend: T frames of a track, K keypoints, N boxes. Coordinates are pixels (x, y) of the upright original frame; the centre of
the top-left pixel is (0, 0). Boxes are xyxy. A missing keypoint is NaN with score 0. Frame indices count from 0 in decode order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ImageArray = NDArray[np.uint8]
FrameStatus = Literal["ok", "corrupt"]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a source says about itself before its frames are read.

    ``width_px`` and ``height_px`` are those of the displayed picture, after ``rotation_deg`` (degrees counter-clockwise) has been
    applied. ``fps`` is the average rate of the header, exact; ``None`` when the container does not say (image folders).
    ``num_frames_from_header`` may be wrong: containers lie; the decoded count is the truth.
    """

    path: Path
    width_px: int
    height_px: int
    fps: Fraction | None
    num_frames_from_header: int | None
    duration_s: float | None
    rotation_deg: int
    time_base: Fraction
    codec: str
    pixel_format: str
    colour: str
    is_hdr: bool
    has_audio: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture: ``image`` is (H, W, 3) uint8 RGB, upright. A corrupt frame carries the previous good picture (or black)."""

    index: int
    pts: int | None
    time_s: float
    image: ImageArray
    status: FrameStatus = "ok"


@dataclass(frozen=True, slots=True)
class Detections:
    """People found in one frame: ``boxes`` (N, 4) xyxy px, ``scores`` (N,) in [0, 1]."""

    frame_index: int
    boxes: FloatArray
    scores: FloatArray

    @classmethod
    def empty(cls, frame_index: int) -> Detections:
        """No people in this frame."""
        return cls(frame_index, np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Track:
    """One person over time: ``boxes`` (T, 4) xyxy px, ``scores`` (T,), ``interpolated`` (T,) where no detection backs the box."""

    track_id: int
    frame_indices: IntArray
    boxes: FloatArray
    scores: FloatArray
    interpolated: BoolArray


@dataclass(frozen=True, slots=True)
class PoseSequence:
    """The 2D pose of one person over time.

    ``keypoints`` (T, K, 2) px are what a reader should use (smoothed when smoothing is on); ``raw_keypoints`` (T, K, 2) px are the
    network's own; ``scores`` (T, K) in [0, 1]; ``boxes`` (T, 4) xyxy px; ``box_scores`` (T,); ``interpolated`` (T,) as in `Track`.
    ``frame_indices`` (T,) ascend but may have gaps.
    """

    track_id: int
    skeleton: str
    frame_indices: IntArray
    keypoints: FloatArray
    raw_keypoints: FloatArray
    scores: FloatArray
    boxes: FloatArray
    box_scores: FloatArray
    interpolated: BoolArray

    def __len__(self) -> int:
        return len(self.frame_indices)


@dataclass(frozen=True, slots=True)
class PoseSequence3D:
    """The 3D pose of one person over time, in the camera's frame: x right, y down, z forward.

    ``joints_mm`` (T, J, 3) are relative to the root joint, which is 0; ``root_mm`` (T, 3) is a rough estimate of where the root
    is, the camera at the origin; NaN where there is none. ``scores`` (T, J) in [0, 1] are those of the keypoints a joint comes
    from. ``frame_indices`` (T,) are those of the `PoseSequence` with the same ``track_id``. A missing joint is NaN with score 0.
    """

    track_id: int
    skeleton: str
    frame_indices: IntArray
    joints_mm: FloatArray
    root_mm: FloatArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.frame_indices)


@dataclass(frozen=True, slots=True)
class FrameTable:
    """One row per decoded frame, people or not: ``pts`` (T,), ``time_s`` (T,) float64, ``is_corrupt`` (T,)."""

    pts: IntArray
    time_s: NDArray[np.float64]
    is_corrupt: BoolArray

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True, slots=True)
class Annotation:
    """Everything `annotate` found in one video. ``run`` is the run record (`formats/run.py`).

    ``poses_3d``: the same people in 3D, where asked for.
    """

    video: VideoInfo
    frames: FrameTable
    poses: tuple[PoseSequence, ...]
    run: Mapping[str, Any] = field(default_factory=dict)
    first_frame_index: int = 0
    poses_3d: tuple[PoseSequence3D, ...] = ()
