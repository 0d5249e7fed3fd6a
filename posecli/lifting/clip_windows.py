"""Long clips through a network of limited length: overlapping windows, merged without seams.

Legend: S frames of a clip, F frames of a window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray


def window_starts(num_frames: int, window: int, overlap: int) -> list[int]:
    """Where the windows of a clip begin.

    Args:
        num_frames: S.
        window: F. A clip of no more frames is one window of its own length.
        overlap: Frames that neighbours share, 0 <= overlap < F; the last window is moved back to end with the clip and shares more.

    Returns:
        Ascending starts that cover every frame.

    Raises:
        ValueError: The overlap does not fit the window.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"windows of {window} frames cannot share {overlap}")
    if num_frames <= window:
        return [0]
    last = num_frames - window
    return [*range(0, last, window - overlap), last]


def centre_weights(window: int) -> NDArray[np.float64]:
    """(F,): how much a window's answer for each frame counts: the distance to its nearer end, the end frames being 1.

    Two windows that overlap by n frames therefore fade into each other over these n frames.
    """
    place = np.arange(window, dtype=np.float64)
    return np.minimum(place, window - 1 - place) + 1.0


class ClipMerger:
    """Averages the answers of the windows of one clip, weighted by `centre_weights`.

    Args:
        num_frames: S.
        shape: Of an answer for one frame.
    """

    def __init__(self, num_frames: int, shape: tuple[int, ...]) -> None:
        self._sums = np.zeros((num_frames, *shape))
        self._weights = np.zeros(num_frames)

    def add(self, start: int, answer: FloatArray) -> None:
        """Add the answer of the window that begins at frame ``start``, (F, ...)."""
        weights = centre_weights(len(answer))
        frames = slice(start, start + len(answer))
        self._sums[frames] += weights.reshape(-1, *[1] * (answer.ndim - 1)) * answer
        self._weights[frames] += weights

    def merged(self) -> FloatArray:
        """(S, ...).

        Raises:
            ValueError: No window has covered some frame.
        """
        if not self._weights.all():
            raise ValueError(f"no window covers frame {int(np.argmin(self._weights))}")
        return np.asarray(self._sums / self._weights.reshape(-1, *[1] * (self._sums.ndim - 1)), np.float32)
