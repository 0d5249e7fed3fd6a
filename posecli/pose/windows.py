"""Which frames go through the network together, and how overlapping answers are merged.

Two modes. ``clip`` (default): one window every ``hop`` frames, the answers of all T frames are kept, so the network runs about once
a frame. ``key`` (the paper): one window per frame, only its middle frame is kept, which costs T times as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from posecli.errors import ConfigError
from posecli.records import FloatArray, IntArray

WindowMode = Literal["clip", "key"]


@dataclass(frozen=True)
class WindowPlan:
    """Windows of ``num_frames`` frames, the c-th responsible for frames [c * hop, (c + 1) * hop).

    Attributes:
        num_frames: T of the network.
        hop: Distance of the windows, frames; 1..T. In ``key`` mode always 1.
        mode: See the module.
    """

    num_frames: int
    hop: int
    mode: WindowMode = "clip"

    def __post_init__(self) -> None:
        if not 1 <= self.hop <= self.num_frames:
            raise ConfigError(f"hop {self.hop} must lie between 1 and the window's {self.num_frames} frames")
        if self.mode == "key" and self.hop != 1:
            raise ConfigError(f"hop {self.hop}: key mode keeps one frame a window, its hop is 1")

    @property
    def num_before(self) -> int:
        """Frames a window reaches back before the frames it is responsible for."""
        return (self.num_frames - self.hop) // 2

    def frames(self, window: int) -> IntArray:
        """(T,) frame indices of the c-th window; may lie outside the video."""
        start = window * self.hop - self.num_before
        return np.arange(start, start + self.num_frames, dtype=np.int64)

    def centre(self, window: int) -> int:
        """The middle frame of the frames a window is responsible for: where the detector looks."""
        return window * self.hop + self.hop // 2

    def merge_weights(self) -> FloatArray:
        """(T,): how much a window's answer for each frame counts: 1 in the middle, less towards the ends; in ``key`` mode 0 there."""
        middle = (self.num_frames - 1) / 2
        distance = np.abs(np.arange(self.num_frames) - middle)
        if self.mode == "key":
            kept = np.zeros(self.num_frames, np.float32)
            kept[self.num_before] = 1.0
            return kept
        return (1.0 - distance / (self.num_frames / 2 + 0.5)).astype(np.float32)


class WindowMerger:
    """Collects the answers of overlapping windows of one track and averages them per frame.

    Windows cut different crops, so what is averaged is keypoints in frame pixels, weighted by centre weight and score.
    """

    def __init__(self, num_keypoints: int) -> None:
        self._num_keypoints = num_keypoints
        self._sums: dict[int, NDArray[np.float64]] = {}

    def __len__(self) -> int:
        return len(self._sums)

    def to_json(self) -> dict[str, Any]:
        """The unfinished frames, exactly; `from_json` reads them back."""
        return {str(frame): row.ravel().tolist() for frame, row in self._sums.items()}

    @classmethod
    def from_json(cls, num_keypoints: int, content: Mapping[str, Any]) -> WindowMerger:
        """A merger that goes on where another stopped."""
        merger = cls(num_keypoints)
        merger._sums = {int(f): np.array(row, np.float64).reshape(num_keypoints, 5) for f, row in content.items()}
        return merger

    def add(self, frame_indices: Sequence[int], keypoints: FloatArray, scores: FloatArray, weights: FloatArray) -> None:
        """Add a window's answer.

        Args:
            frame_indices: (T,) frames, the ends of the video repeated where the window reached beyond them.
            keypoints: (T, K, 2) px.
            scores: (T, K).
            weights: (T,), see `WindowPlan.merge_weights`.
        """
        for frame, points, values, weight in zip(frame_indices, keypoints, scores, weights, strict=True):
            if weight <= 0.0:
                continue
            share = (float(weight) * np.maximum(values, 1e-3))[:, None].astype(np.float64)
            weighted = (float(weight) * values)[:, None]
            row = np.concatenate([points * share, share, weighted, np.full_like(share, weight)], axis=1)
            self._sums[int(frame)] = self._sums.get(int(frame), 0.0) + row

    def pop_until(self, end: int) -> list[tuple[int, FloatArray, FloatArray]]:
        """Take out what is known of all frames before ``end``: (frame, keypoints (K, 2), scores (K,)), ascending."""
        done = sorted(frame for frame in self._sums if frame < end)
        result = []
        for frame in done:
            row = self._sums.pop(frame)
            points = (row[:, :2] / row[:, 2:3]).astype(np.float32)
            result.append((frame, points, (row[:, 3] / row[:, 4]).astype(np.float32)))
        return result
