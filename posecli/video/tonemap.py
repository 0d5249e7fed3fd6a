"""HDR pictures (PQ or HLG, BT.2020) made into ordinary 8-bit BT.709 ones.

The light of each channel is made relative to HDR reference white (203 cd/m2, ITU-R BT.2408), turned to BT.709 primaries, and
compressed: linear up to `_KNEE`, a soft shoulder above that reaches 1 at the brightest light the transfer function is mastered for.
Good enough to find people in; not a grading tool.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from posecli.records import ImageArray

Transfer = Literal["pq", "hlg"]

_REFERENCE_WHITE_NITS = 203.0
_PEAK_NITS = 1000.0
_KNEE = 0.6
_BITS = 12
# ITU-R BT.2087, linear light.
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def tone_map(image: NDArray[np.uint16], transfer: Transfer) -> ImageArray:
    """HDR to 8 bit.

    Args:
        image: (H, W, 3) R'G'B', full range of 16 bit, BT.2020 primaries.
        transfer: How the values encode light.

    Returns:
        (H, W, 3) R'G'B', BT.709.
    """
    linear = np.take(_to_light(transfer), image >> (16 - _BITS))
    # cv2 multiplies each pixel by the matrix many times faster than a matmul over the last axis.
    rgb = cv2.transform(linear, _BT2020_TO_BT709)
    top = (1 << _BITS) - 1
    # The square root spends the table's entries where the eye sees steps: in the shadows.
    index = np.sqrt(np.clip(rgb, 0.0, _peak()) / _peak()) * top + 0.5
    mapped: ImageArray = np.take(_to_signal(), index.astype(np.uint16))
    return mapped


def _peak() -> float:
    return _PEAK_NITS / _REFERENCE_WHITE_NITS


@cache
def _to_light(transfer: Transfer) -> NDArray[np.float32]:
    """(2^12,) light relative to reference white for each signal value."""
    signal = np.linspace(0.0, 1.0, 1 << _BITS)
    nits = _pq_nits(signal) if transfer == "pq" else _hlg_nits(signal)
    return (nits / _REFERENCE_WHITE_NITS).astype(np.float32)


def _pq_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** (1 / m2)
    return 10000.0 * (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """ARIB STD-B67 for a display of 1000 cd/m2; its gamma of 1.2 is applied to each channel, not to luminance."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return np.asarray(_PEAK_NITS * scene**1.2, np.float64)


@cache
def _to_signal() -> ImageArray:
    """(2^12,) 8-bit signal for each light, indexed by the square root of light / peak."""
    light = np.linspace(0.0, 1.0, 1 << _BITS) ** 2 * _peak()
    over = np.maximum(light - _KNEE, 0.0) / (1 - _KNEE)
    top = (_peak() - _KNEE) / (1 - _KNEE)
    shoulder = _KNEE + (1 - _KNEE) * over * (1 + over / top**2) / (1 + over)
    mapped = np.where(light <= _KNEE, light, shoulder)
    signal = np.where(mapped < 0.018, 4.5 * mapped, 1.099 * mapped**0.45 - 0.099)
    return np.asarray(np.clip(np.rint(signal * 255), 0, 255), np.uint8)
