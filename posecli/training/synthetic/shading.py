"""Colours of what the rasteriser found: texture, clothing colours and patterns, soft light, sun and its shadows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posecli.records import FloatArray, ImageArray, IntArray
from posecli.training.synthetic.compiled import Scalar, compiled, inlined
from posecli.training.synthetic.lookups import GAMMA_TABLE, mix, perspective, texel, texture_level, tone, unit
from posecli.training.synthetic.mesh import ALL_TINTED, CLOTH_IN_ALPHA, PLAIN, Mesh
from posecli.training.synthetic.raster import FrameBuffer
from posecli.training.synthetic.shadow import ShadowMap, light_part
from posecli.training.synthetic.textures import TextureStack

_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
_SAME_PLACE = np.float32(0.01)  # of the distance
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)  # 1 with a float32 makes a float64
_BYTE = np.float32(1 / 255)
_NO_CLOTH = np.float32(0.01)
_PATTERN_GAIN = np.float32(2.2 / 65025)  # patterns are lightened, squared and scaled to 1
_NO_PATTERN = np.float32(255 / 2.2**0.5)  # gain 1
_RED, _GREEN, _BLUE = np.float32(0.3), np.float32(0.6), np.float32(0.1)
_LIFT, _BIAS = np.float32(0.012), np.float32(0.02)  # metres: a surface does not shade itself


class Paint(NamedTuple):
    """How one body is coloured.

    Attributes:
        above: (P, 3) linear colour of each part's cloth above the waist.
        below: (P, 3) and below.
        styles: (P, 4) strength 0 to 1, weight of the pattern 0 or 1, its repeats a metre, height of the waist at rest.
        pattern: One texture.
        skin: (3,) factors on what is no cloth.
    """

    above: FloatArray
    below: FloatArray
    styles: FloatArray
    pattern: TextureStack
    skin: FloatArray


class Light(NamedTuple):
    """Light on the scene: ``irradiance`` (9, 3), ``sun_direction`` (3,), ``sun_colour`` (3,), ``exposure`` (1,); float32."""

    irradiance: FloatArray
    sun_direction: FloatArray
    sun_colour: FloatArray
    exposure: FloatArray


class Surface(NamedTuple):
    """A body in one frame.

    Attributes:
        mesh: Its triangles and textures.
        paint: Its colours.
        vertices: (V, 3) in the world.
        normals: (V, 3) in the world.
        points: (V, 3) on the screen, see `posecli.training.synthetic.raster.project_vertices`.
        number: (1,) of the body in the frame buffer.
    """

    mesh: Mesh
    paint: Paint
    vertices: FloatArray
    normals: FloatArray
    points: FloatArray
    number: IntArray


def shade_surface(
    image: ImageArray,
    buffer: FrameBuffer,
    surface: Surface,
    light: Light,
    shadows: ShadowMap,
    eye: FloatArray,
    factor: int,
) -> None:
    """Paint the samples of ``image`` (H, W, 3) that belong to a body.

    Args:
        image: The picture, ``factor`` samples a pixel's side.
        buffer: What its samples show.
        surface: The body.
        light: On it.
        shadows: Of the sun.
        eye: (3,) float32, where the camera stands.
        factor: Where all samples of a pixel show about the same place, one is painted for all.
    """
    height, width = buffer.owner.shape
    bounds = _bounds(surface.points, width, height, factor)
    _shade(image, buffer, surface, light, shadows, eye, bounds, factor, _LINEAR, GAMMA_TABLE)


@compiled
def _bounds(points: FloatArray, width: int, height: int, factor: int) -> IntArray:
    """(4,) first and last pixels, x y x y, that points before the camera may touch."""
    low_x, low_y, high_x, high_y = np.float32(width), np.float32(height), np.float32(0), np.float32(0)
    for i in range(points.shape[0]):
        if points[i, 2] > 0:
            low_x, high_x = min(low_x, points[i, 0]), max(high_x, points[i, 0])
            low_y, high_y = min(low_y, points[i, 1]), max(high_y, points[i, 1])
    bounds = np.empty(4, np.int64)
    bounds[0], bounds[1] = max(int(low_x), 0) // factor, max(int(low_y), 0) // factor
    bounds[2] = (min(int(high_x) + 2, width) + factor - 1) // factor
    bounds[3] = (min(int(high_y) + 2, height) + factor - 1) // factor
    # nothing of it before the camera: an empty area, not one of negative sides
    bounds[2], bounds[3] = max(bounds[2], bounds[0]), max(bounds[3], bounds[1])
    return bounds


@inlined
def _soft_light(s: FloatArray, c: int, x: Scalar, y: Scalar, z: Scalar) -> Scalar:
    """The light of the whole panorama on a surface of this normal, in one channel."""
    value = s[0, c] + s[1, c] * y + s[2, c] * z + s[3, c] * x + s[4, c] * x * y + s[5, c] * y * z
    value += s[6, c] * (np.float32(3) * z * z - _ONE) + s[7, c] * x * z + s[8, c] * (x * x - y * y)
    return max(np.float32(value), np.float32(0))


@inlined
def _texture_colour(
    uv: FloatArray,
    points: FloatArray,
    texels: ImageArray,
    starts: IntArray,
    row: int,
    side: int,
    num_levels: int,
    samples: int,
    i0: int,
    i1: int,
    i2: int,
    w0: Scalar,
    w1: Scalar,
    w2: Scalar,
) -> tuple[Scalar, Scalar, Scalar, Scalar, int]:
    """RGBA 0 to 255, and the level of the texture it was taken from."""
    level = texture_level(points, uv, i0, i1, i2, side, num_levels, samples)
    u, v = mix(uv, 0, i0, i1, i2, w0, w1, w2), mix(uv, 1, i0, i1, i2, w0, w1, w2)
    red, green, blue, alpha = texel(texels, starts[row, level], side >> level, u, v)
    return red, green, blue, alpha, level


@inlined
def _dress(colour: Scalar, wanted: Scalar, spot: Scalar, fold: Scalar, part: Scalar) -> Scalar:
    """One channel of cloth: the outfit's colour and pattern, with the light and dark of the texture's folds."""
    return colour + (wanted * (spot * spot * _PATTERN_GAIN) * fold - colour) * part


@inlined
def _fold(red: Scalar, green: Scalar, blue: Scalar) -> Scalar:
    """How light or dark a fold of cloth is."""
    brightness = _RED * red + _GREEN * green + _BLUE * blue
    return np.float32(0.25) + np.float32(0.6) * min(brightness * np.float32(1 / 0.12), np.float32(1.8))


@inlined
def _sun_and_shine(
    sun: FloatArray,
    nearness: FloatArray,
    matrix: FloatArray,
    px: Scalar,
    py: Scalar,
    pz: Scalar,
    nx: Scalar,
    ny: Scalar,
    nz: Scalar,
    vx: Scalar,
    vy: Scalar,
    vz: Scalar,
) -> tuple[Scalar, Scalar]:
    """What a surface gets of the sun, and sends on to the camera as a highlight; both 0 to 1."""
    direct: Scalar = nx * sun[0] + ny * sun[1] + nz * sun[2]
    if direct <= 0:
        return np.float32(0), np.float32(0)
    direct *= np.float32(light_part(nearness, matrix, px + nx * _LIFT, py + ny * _LIFT, pz + nz * _LIFT, _BIAS))
    hx, hy, hz = unit(vx + sun[0], vy + sun[1], vz + sun[2])
    half = max(nx * hx + ny * hy + nz * hz, np.float32(0))
    half *= half
    half *= half
    half *= half
    return direct, half * half * half * direct * np.float32(0.12)


@inlined
def _is_uniform(owner: np.ndarray, nearness: FloatArray, y: int, x: int, factor: int, number: int) -> bool:
    """Whether the samples of a pixel all show one body at about one distance."""
    low, high = nearness[y, x], nearness[y, x]
    for j in range(y, y + factor):
        for i in range(x, x + factor):
            if owner[j, i] != number:
                return False
            low, high = min(low, nearness[j, i]), max(high, nearness[j, i])
    return high - low < _SAME_PLACE * high


@inlined
def _outfit(
    red: Scalar,
    green: Scalar,
    blue: Scalar,
    cloth: Scalar,
    part: int,
    level: int,
    above: FloatArray,
    below: FloatArray,
    styles: FloatArray,
    spots: ImageArray,
    spot_starts: IntArray,
    spot_side: int,
    spot_levels: int,
    rest_x: Scalar,
    rest_y: Scalar,
) -> tuple[Scalar, Scalar, Scalar]:
    """The colour of cloth in the outfit."""
    sr: Scalar = _NO_PATTERN
    sg: Scalar = _NO_PATTERN
    sb: Scalar = _NO_PATTERN
    if styles[part, 1] > 0:
        at = min(max(level - 1, 0), spot_levels - 1)
        fine = styles[part, 2]
        sr, sg, sb, _ = texel(spots, spot_starts[0, at], spot_side >> at, rest_x * fine, rest_y * fine)
    fold, dressed = _fold(red, green, blue), cloth * styles[part, 0]
    if rest_y > styles[part, 3]:
        wr, wg, wb = above[part, 0], above[part, 1], above[part, 2]
    else:
        wr, wg, wb = below[part, 0], below[part, 1], below[part, 2]
    return _dress(red, wr, sr, fold, dressed), _dress(green, wg, sg, fold, dressed), _dress(blue, wb, sb, fold, dressed)


@inlined
def _illuminate(
    image: ImageArray,
    y: int,
    x: int,
    red: Scalar,
    green: Scalar,
    blue: Scalar,
    cloth: Scalar,
    px: Scalar,
    py: Scalar,
    pz: Scalar,
    nx: Scalar,
    ny: Scalar,
    nz: Scalar,
    eye: FloatArray,
    soft: FloatArray,
    sun: FloatArray,
    sun_colour: FloatArray,
    exposure: Scalar,
    nearness: FloatArray,
    matrix: FloatArray,
    table: FloatArray,
) -> None:
    """Light a place of this linear colour and normal, and write the sample."""
    vx, vy, vz = unit(eye[0] - px, eye[1] - py, eye[2] - pz)
    facing: Scalar = nx * vx + ny * vy + nz * vz
    if facing < 0:
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    direct, shine = _sun_and_shine(sun, nearness, matrix, px, py, pz, nx, ny, nz, vx, vy, vz)
    shine *= _ONE - np.float32(0.7) * cloth
    open_sky = np.float32(0.775) + np.float32(0.225) * ny
    rim = (_ONE - facing) * (_ONE - facing)
    rim *= rim * np.float32(0.045)
    twice = _TWO * facing
    mx, my, mz = twice * nx - vx, twice * ny - vy, twice * nz - vz
    for c in range(3):
        colour = red if c == 0 else (green if c == 1 else blue)
        received = _soft_light(soft, c, nx, ny, nz) * open_sky + sun_colour[c] * direct
        extra = sun_colour[c] * shine + _soft_light(soft, c, mx, my, mz) * rim
        image[y, x, c] = tone((colour * received + extra) * exposure, table)


@inlined
def _copy_sample(image: ImageArray, y0: int, x0: int, y: int, x: int) -> None:
    for c in range(3):
        image[y, x, c] = image[y0, x0, c]


# The loop works on plain arrays: taking one out of a tuple inside the loop counts a reference at every sample.
@compiled
def _shade(
    image: ImageArray,
    buffer: FrameBuffer,
    surface: Surface,
    light: Light,
    shadows: ShadowMap,
    eye: FloatArray,
    bounds: IntArray,
    factor: int,
    linear: FloatArray,
    table: FloatArray,
) -> None:
    owner, nearness, triangle, weights = buffer.owner, buffer.nearness, buffer.triangle, buffer.weights
    mesh, paint, textures, pattern = surface.mesh, surface.paint, surface.mesh.textures, surface.paint.pattern
    number, points, vertices, normals = surface.number[0], surface.points, surface.vertices, surface.normals
    triangles, parts, rest, uv = mesh.triangles, mesh.parts, mesh.vertices, mesh.texture_uv
    rows, modes, sides, levels = mesh.part_textures, mesh.part_modes, textures.sides, textures.num_levels
    texels, starts, spots, spot_starts = textures.texels, textures.starts, pattern.texels, pattern.starts
    spot_side, spot_levels, styles, skin = pattern.sides[0], pattern.num_levels[0], paint.styles, paint.skin
    above, below, soft, exposure = paint.above, paint.below, light.irradiance, light.exposure[0]
    sun, sun_colour, map_nearness, map_matrix = light.sun_direction, light.sun_colour, shadows.nearness, shadows.matrix
    for block in range((bounds[3] - bounds[1]) * (bounds[2] - bounds[0])):
        y0 = (bounds[1] + block // (bounds[2] - bounds[0])) * factor
        x0 = (bounds[0] + block % (bounds[2] - bounds[0])) * factor
        is_uniform = _is_uniform(owner, nearness, y0, x0, factor, number)
        samples = factor * factor if is_uniform else 1
        for k in range(factor * factor):
            y, x = y0 + k // factor, x0 + k % factor
            if owner[y, x] != number:
                continue
            if k > 0 and is_uniform:
                _copy_sample(image, y0, x0, y, x)
                continue
            t = triangle[y, x]
            i0, i1, i2, part = triangles[t, 0], triangles[t, 1], triangles[t, 2], parts[t]
            w0, w1, w2 = perspective(points, i0, i1, i2, weights[y, x, 0], weights[y, x, 1])
            row, mode = rows[part], modes[part]
            tr, tg, tb, alpha, level = _texture_colour(
                uv, points, texels, starts, row, sides[row], levels[row], samples, i0, i1, i2, w0, w1, w2
            )
            r: Scalar = linear[int(tr)]
            g: Scalar = linear[int(tg)]
            b: Scalar = linear[int(tb)]
            cloth = alpha * _BYTE if mode == CLOTH_IN_ALPHA else (_ZERO if mode == PLAIN else _ONE)
            if cloth * styles[part, 0] > _NO_CLOTH:
                rest_x, rest_y = mix(rest, 0, i0, i1, i2, w0, w1, w2), mix(rest, 1, i0, i1, i2, w0, w1, w2)
                r, g, b = _outfit(
                    *(r, g, b, cloth, part, level, above, below, styles),
                    *(spots, spot_starts, spot_side, spot_levels, rest_x, rest_y),
                )
            if mode != ALL_TINTED:
                bare = _ONE - cloth
                r, g, b = (
                    r * (_ONE + (skin[0] - _ONE) * bare),
                    g * (_ONE + (skin[1] - _ONE) * bare),
                    b * (_ONE + (skin[2] - _ONE) * bare),
                )
            px, py = mix(vertices, 0, i0, i1, i2, w0, w1, w2), mix(vertices, 1, i0, i1, i2, w0, w1, w2)
            pz, nx = mix(vertices, 2, i0, i1, i2, w0, w1, w2), mix(normals, 0, i0, i1, i2, w0, w1, w2)
            ny, nz = mix(normals, 1, i0, i1, i2, w0, w1, w2), mix(normals, 2, i0, i1, i2, w0, w1, w2)
            nx, ny, nz = unit(nx, ny, nz)
            _illuminate(
                *(image, y, x, r, g, b, cloth, px, py, pz, nx, ny, nz, eye),
                *(soft, sun, sun_colour, exposure, map_nearness, map_matrix, table),
            )
