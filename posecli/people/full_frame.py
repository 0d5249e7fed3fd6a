"""The whole picture as one person: for clips that are cropped around somebody."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posecli.records import Detections, Frame


class FullFrameDetector:
    """One box as large as the frame, score 1."""

    name = "full-frame"

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One person in each frame."""
        return [_whole(frame) for frame in frames]


def _whole(frame: Frame) -> Detections:
    height, width = frame.image.shape[:2]
    box = np.array(
        [[-0.5, -0.5, width - 0.5, height - 0.5]], np.float32
    )  # from edge to edge, not between border pixels' centres
    return Detections(frame.index, box, np.ones(1, np.float32))
