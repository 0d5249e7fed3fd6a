"""How the threads that a run may use are shared out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import torch

from posecli.crew import Crew

_MAX_DECODER_THREADS = 4


@contextmanager
def all_threads() -> Iterator[Crew]:
    """A crew of as many threads as torch has; OpenCV has none of its own meanwhile, pictures are cut side by side already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with Crew(torch.get_num_threads()) as crew:
            yield crew
    finally:
        cv2.setNumThreads(before)


def decoder_threads(crew: Crew) -> int:
    """FFmpeg's threads come on top of whoever waits for pictures: none where every thread counts, few beside many."""
    return min(_MAX_DECODER_THREADS, max(1, crew.num_threads // 4))
