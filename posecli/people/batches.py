"""Frames in batches that a network can take at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from posecli.records import Detections, Frame


def detect_in_batches(
    frames: Sequence[Frame], detect: Callable[[list[Frame]], list[Detections]], *, max_batch: int
) -> list[Detections]:
    """Run a detector over neighbouring frames of one size, so many at a time.

    Args:
        frames: Of any sizes.
        detect: Takes frames of one size.
        max_batch: Frames a call.

    Returns:
        In the order of the frames.
    """
    found: list[Detections] = []
    for _, group in groupby(frames, key=lambda frame: frame.image.shape):
        same_size = list(group)
        for start in range(0, len(same_size), max_batch):
            found += detect(same_size[start : start + max_batch])
    return found
