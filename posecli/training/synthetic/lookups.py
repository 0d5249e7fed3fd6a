"""What the shading loops look up: texels, values between the corners of a triangle, and the tone of light."""

from __future__ import annotations

import math

import numpy as np

from posecli.records import FloatArray, ImageArray
from posecli.training.synthetic.compiled import Scalar, inlined

GAMMA_STEPS = 4095
GAMMA_TABLE = np.clip((np.arange(GAMMA_STEPS + 1) / GAMMA_STEPS) ** (1 / 2.2) * 255, 0, 255).astype(np.float32)
_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)  # 1 with a float32 makes a float64


@inlined
def texel(texels: ImageArray, start: int, side: int, u: Scalar, v: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Bilinear, repeating; RGBA 0 to 255."""
    x, y = (
        (u - np.float32(math.floor(u))) * np.float32(side) - _HALF,
        (v - np.float32(math.floor(v))) * np.float32(side) - _HALF,
    )
    column, line = math.floor(x), math.floor(y)
    fx, fy = x - np.float32(column), y - np.float32(line)
    left, right = column & (side - 1), (column + 1) & (side - 1)
    top, bottom = start + (line & (side - 1)) * side, start + ((line + 1) & (side - 1)) * side
    a, b, c, d = top + left, top + right, bottom + left, bottom + right
    wa, wb, wc, wd = (_ONE - fx) * (_ONE - fy), fx * (_ONE - fy), (_ONE - fx) * fy, fx * fy
    return (
        wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0],
        wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1],
        wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2],
        wa * texels[a, 3] + wb * texels[b, 3] + wc * texels[c, 3] + wd * texels[d, 3],
    )


@inlined
def texture_level(
    points: FloatArray, uv: FloatArray, i0: int, i1: int, i2: int, side: int, num_levels: int, samples: int
) -> int:
    """The version of the texture with about one texel for this many samples."""
    du1, dv1, du2, dv2 = uv[i1, 0] - uv[i0, 0], uv[i1, 1] - uv[i0, 1], uv[i2, 0] - uv[i0, 0], uv[i2, 1] - uv[i0, 1]
    dx1, dy1 = points[i1, 0] - points[i0, 0], points[i1, 1] - points[i0, 1]
    dx2, dy2 = points[i2, 0] - points[i0, 0], points[i2, 1] - points[i0, 1]
    texels = abs(du1 * dv2 - du2 * dv1) * np.float32(side * side * samples)
    area = abs(dx1 * dy2 - dx2 * dy1) + np.float32(1e-6)
    number = 0
    while texels > _TWO * area and number < num_levels - 1:
        texels *= np.float32(0.25)
        number += 1
    return number


@inlined
def mix(a: FloatArray, c: int, i0: int, i1: int, i2: int, w0: Scalar, w1: Scalar, w2: Scalar) -> Scalar:
    """A column of (V, C) values, between three vertices."""
    return w0 * a[i0, c] + w1 * a[i1, c] + w2 * a[i2, c]


@inlined
def unit(x: Scalar, y: Scalar, z: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """A direction, of length 1."""
    scale = np.float32(1) / math.sqrt(x * x + y * y + z * z + np.float32(1e-12))
    return x * scale, y * scale, z * scale


@inlined
def perspective(points: FloatArray, i0: int, i1: int, i2: int, b1: Scalar, b2: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """Weights of a triangle's corners in space, of those on the screen."""
    w0, w1, w2 = (_ONE - b1 - b2) * points[i0, 2], b1 * points[i1, 2], b2 * points[i2, 2]
    scale = np.float32(1) / (w0 + w1 + w2)
    return w0 * scale, w1 * scale, w2 * scale


@inlined
def tone(value: Scalar, table: FloatArray) -> int:
    """Linear light -> 0 to 255: highlights roll off as film's do, then gamma."""
    rolled = value * (_ONE + value * np.float32(0.16)) / (_ONE + value * np.float32(0.62))
    return int(table[int(min(max(rolled, np.float32(0)), _ONE) * np.float32(GAMMA_STEPS))])
