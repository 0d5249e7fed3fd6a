"""One labelled person, as training sees it: a still, or a few consecutive frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.geometry import union_box
from posecli.records import FloatArray, ImageArray


@dataclass(frozen=True, slots=True)
class Sample:
    """A person in n pictures of one size: 1 of a still, more of a video.

    Attributes:
        images: (H, W, 3) uint8 RGB each; the person's surroundings, enough for turning and shifting the crop.
        boxes: (n, 4) xyxy px.
        keypoints: (n, 19, 2) px; NaN where unlabelled.
        is_labelled: (n, 19).
    """

    images: tuple[ImageArray, ...]
    boxes: FloatArray
    keypoints: FloatArray
    is_labelled: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def box(self) -> FloatArray:
        """(4,), around the boxes of all pictures."""
        return union_box(self.boxes)

    def part(self, start: int, stop: int, *, is_reversed: bool = False) -> Sample:
        """The pictures from ``start`` up to ``stop``, backwards if wanted."""
        chosen = slice(start, stop)
        step = -1 if is_reversed else 1
        return Sample(
            self.images[chosen][::step],
            self.boxes[chosen][::step],
            self.keypoints[chosen][::step],
            self.is_labelled[chosen][::step],
        )
