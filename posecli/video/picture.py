"""Decoded pictures made into upright 8-bit RGB arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from numpy.typing import NDArray

from posecli.records import ImageArray
from posecli.video.tonemap import Transfer, tone_map

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HDR: dict[int, Transfer] = {int(ColorTrc.SMPTE2084): "pq", int(ColorTrc.ARIB_STD_B67): "hlg"}
_NAMES_PRIMARIES = {int(p): p.name.lower() for p in ColorPrimaries}
_NAMES_TRC = {int(t): t.name.lower() for t in ColorTrc}
_NAMES_SPACE = {0: "rgb", 1: "bt709", 2: "unspecified", 5: "bt470bg", 6: "smpte170m", 9: "bt2020nc", 10: "bt2020c"}
_NAMES_RANGE = {1: "tv", 2: "pc"}


@dataclass(frozen=True, slots=True)
class Turn:
    """How a stored picture is turned for display: first mirrored left-right when ``is_mirrored``, then turned counter-clockwise."""

    rotation_deg: int = 0
    is_mirrored: bool = False

    def apply(self, image: ImageArray) -> ImageArray:
        """The upright picture, (H, W, 3), contiguous."""
        if self.is_mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(np.rot90(image, self.rotation_deg // 90))

    def size_wh(self, width_px: int, height_px: int) -> tuple[int, int]:
        """The displayed size of a stored picture."""
        return (height_px, width_px) if self.rotation_deg % 180 else (width_px, height_px)


def display_turn(frame: VideoFrame) -> Turn:
    """What the display matrix of a frame asks for, in steps of 90 degrees.

    The matrix (ISO 14496-12) maps stored (x, y) to shown (ax + cy, bx + dy), y down.
    """
    side_data = cast("SideDataContainer", frame.side_data)
    if SideDataType.DISPLAYMATRIX not in side_data:
        return Turn()
    a, b, _, c, d = np.frombuffer(bytes(side_data[SideDataType.DISPLAYMATRIX]), np.int32)[:5].astype(np.float64)
    # Mirrored first, stored x points left.
    is_mirrored = bool(a * d - b * c < 0)
    right = np.array([a, b]) * (-1 if is_mirrored else 1)
    # After a counter-clockwise turn, right points to (cos, -sin), y down.
    angle_deg = float(np.rad2deg(np.arctan2(-right[1], right[0])))
    return Turn(round(angle_deg / 90) * 90 % 360, is_mirrored)


def colour_of(frame: VideoFrame) -> str:
    """Primaries, transfer, matrix and range, for example ``bt709/bt709/bt709/tv``."""
    parts = (
        _NAMES_PRIMARIES.get(frame.color_primaries, "unspecified"),
        _NAMES_TRC.get(frame.color_trc, "unspecified"),
        _NAMES_SPACE.get(frame.colorspace, f"matrix{frame.colorspace}"),
        _NAMES_RANGE.get(frame.color_range, "unspecified"),
    )
    return "/".join(parts)


def is_hdr(frame: VideoFrame) -> bool:
    """Whether the values encode HDR light (PQ or HLG)."""
    return frame.color_trc in _HDR


class PictureConverter:
    """Converts the frames of one stream; keeps FFmpeg's conversion tables between frames.

    A stream whose size changes midway is scaled to the size of its first picture, so that coordinates stay comparable.

    Args:
        stored_wh: Size of the first picture, before turning.
        turn: How pictures are turned for display.
        num_threads: Threads for the conversion.
    """

    def __init__(self, stored_wh: tuple[int, int], turn: Turn, *, num_threads: int = 1) -> None:
        self._stored_wh = stored_wh
        self._turn = turn
        self._num_threads = num_threads
        self._reformatter = VideoReformatter()
        self.num_resized = 0

    def __call__(self, frame: VideoFrame) -> ImageArray:
        """(H, W, 3) uint8 RGB, upright."""
        self.num_resized += (frame.width, frame.height) != self._stored_wh
        transfer = _HDR.get(frame.color_trc)
        if transfer is None:
            image: ImageArray = self._convert(frame, "rgb24").astype(np.uint8, copy=False)
        else:
            image = tone_map(self._convert(frame, "rgb48le").astype(np.uint16, copy=False), transfer)
        return self._turn.apply(image)

    def _convert(self, frame: VideoFrame, pixel_format: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
        width, height = self._stored_wh
        # Untagged video: BT.709 from HD on, BT.601 below, as players do; FFmpeg alone would take BT.601 for everything.
        is_untagged_hd = frame.colorspace == _UNSPECIFIED and (frame.width >= 1280 or frame.height > 576)
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=pixel_format,
            src_colorspace=Colorspace.ITU709 if is_untagged_hd else None,
            dst_color_range=ColorRange.JPEG,
            threads=self._num_threads,
        )
        return converted.to_ndarray()  # type: ignore[return-value]
