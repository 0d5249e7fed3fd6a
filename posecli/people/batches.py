"""Frames in batches that a network can take at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from posecli.out_of_memory import BatchSize
from posecli.records import Detections, Frame


def detect_in_batches(
    frames: Sequence[Frame], detect: Callable[[list[Frame]], list[Detections]], batches: BatchSize
) -> list[Detections]:
    """Run a detector over neighbouring frames of one size, so many at a time.

    Args:
        frames: Of any sizes.
        detect: Takes frames of one size.
        batches: How many a call; fewer from then on where memory runs out.

    Returns:
        In the order of the frames.

    Raises:
        DeviceError: Memory ran out with a single frame.
    """
    found: list[Detections] = []
    for _, group in groupby(frames, key=lambda frame: frame.image.shape):
        same_size = list(group)
        for part in batches.run(len(same_size), lambda part: detect(same_size[part])):  # noqa: B023  # called at once
            found += part
    return found
