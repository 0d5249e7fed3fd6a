"""Whole frames scaled to the network's input, and back.

The picture sits in the top-left corner; what is left to the next multiple of the network's stride is grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.records import FloatArray, ImageArray

GREY = 114


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame was fitted into the input.

    Attributes:
        frame_wh: Size of the frame, px.
        scaled_wh: Size of the scaled picture, px; whole pixels, so the two axes' scales may differ by a hair.
        input_wh: Size of the input, px: ``scaled_wh`` rounded up.
    """

    frame_wh: tuple[int, int]
    scaled_wh: tuple[int, int]
    input_wh: tuple[int, int]

    @classmethod
    def fit(cls, frame_wh: tuple[int, int], *, longer_side_px: int, multiple_px: int) -> Letterbox:
        """The frame with its longer side scaled to ``longer_side_px``, padded to multiples of ``multiple_px``."""
        scale = longer_side_px / max(frame_wh)
        width, height = (max(1, round(side * scale)) for side in frame_wh)
        padded_w, padded_h = (-(-side // multiple_px) * multiple_px for side in (width, height))
        return cls(frame_wh, (width, height), (padded_w, padded_h))

    @property
    def scale_xy(self) -> NDArray[np.float64]:
        """Input pixels per frame pixel."""
        return np.array(self.scaled_wh, np.float64) / self.frame_wh

    def apply(self, image: ImageArray) -> ImageArray:
        """(H, W, 3) frame, or the same picture in another size -> (H_in, W_in, 3) input."""
        is_smaller = self.scaled_wh[0] < image.shape[1]
        scaled = cv2.resize(image, self.scaled_wh, interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR)
        result = np.full((self.input_wh[1], self.input_wh[0], 3), GREY, np.uint8)
        result[: self.scaled_wh[1], : self.scaled_wh[0]] = scaled
        return result

    def to_input(self, boxes: NDArray[np.floating]) -> FloatArray:
        """(N, 4) xyxy frame px -> input px."""
        scale = np.tile(self.scale_xy, 2)
        return ((boxes + 0.5) * scale - 0.5).astype(np.float32)

    def to_frame(self, boxes: NDArray[np.floating]) -> FloatArray:
        """(N, 4) xyxy input px -> frame px; the inverse of `to_input`."""
        scale = np.tile(self.scale_xy, 2)
        return ((boxes + 0.5) / scale - 0.5).astype(np.float32)
