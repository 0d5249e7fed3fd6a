"""Colours of what the rasteriser found: texture, clothing colours and patterns, soft light, sun and its shadows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from posecli.records import FloatArray, ImageArray, IntArray
from posecli.training.synthetic.compiled import Scalar, compiled, inlined
from posecli.training.synthetic.mesh import ALL_TINTED, CLOTH_IN_ALPHA, PLAIN, Mesh
from posecli.training.synthetic.raster import FrameBuffer
from posecli.training.synthetic.shadow import ShadowMap, light_part
from posecli.training.synthetic.textures import TextureStack

_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)
_GAMMA_STEPS = 4095
_SAME_PLACE = np.float32(0.01)  # of the distance
GAMMA_TABLE = np.clip((np.arange(_GAMMA_STEPS + 1) / _GAMMA_STEPS) ** (1 / 2.2) * 255, 0, 255).astype(np.float32)


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
    return bounds


@inlined
def _texel(texels: ImageArray, start: int, side: int, u: Scalar, v: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Bilinear, repeating; RGBA 0 to 255."""
    x, y = (u - math.floor(u)) * side - np.float32(0.5), (v - math.floor(v)) * side - np.float32(0.5)
    column, line = math.floor(x), math.floor(y)
    fx, fy = np.float32(x - column), np.float32(y - line)
    left, right = column & (side - 1), (column + 1) & (side - 1)
    top, bottom = start + (line & (side - 1)) * side, start + ((line + 1) & (side - 1)) * side
    a, b, c, d = top + left, top + right, bottom + left, bottom + right
    wa, wb, wc, wd = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    return (
        wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0],
        wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1],
        wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2],
        wa * texels[a, 3] + wb * texels[b, 3] + wc * texels[c, 3] + wd * texels[d, 3],
    )


@inlined
def _soft_light(s: FloatArray, c: int, x: Scalar, y: Scalar, z: Scalar) -> Scalar:
    """The light of the whole panorama on a surface of this normal, in one channel."""
    value = s[0, c] + s[1, c] * y + s[2, c] * z + s[3, c] * x + s[4, c] * x * y + s[5, c] * y * z
    value += s[6, c] * (3 * z * z - 1) + s[7, c] * x * z + s[8, c] * (x * x - y * y)
    return max(np.float32(value), np.float32(0))


@inlined
def tone(value: Scalar, table: FloatArray) -> int:
    """Linear light -> 0 to 255: highlights roll off as film's do, then gamma."""
    rolled = value * (1 + value * np.float32(0.16)) / (1 + value * np.float32(0.62))
    return int(table[int(min(max(rolled, np.float32(0)), np.float32(1)) * 4095)])


@inlined
def _level(
    points: FloatArray, uv: FloatArray, i0: int, i1: int, i2: int, side: int, num_levels: int, samples: int
) -> int:
    """The version of the texture with about one texel for this many samples."""
    du1, dv1, du2, dv2 = uv[i1, 0] - uv[i0, 0], uv[i1, 1] - uv[i0, 1], uv[i2, 0] - uv[i0, 0], uv[i2, 1] - uv[i0, 1]
    dx1, dy1 = points[i1, 0] - points[i0, 0], points[i1, 1] - points[i0, 1]
    dx2, dy2 = points[i2, 0] - points[i0, 0], points[i2, 1] - points[i0, 1]
    texels = abs(du1 * dv2 - du2 * dv1) * side * side * samples
    area = abs(dx1 * dy2 - dx2 * dy1) + np.float32(1e-6)
    level = 0
    while texels > 2 * area and level < num_levels - 1:
        texels *= np.float32(0.25)
        level += 1
    return level


@inlined
def _mix(a: FloatArray, c: int, i0: int, i1: int, i2: int, w0: Scalar, w1: Scalar, w2: Scalar) -> Scalar:
    """A column of (V, C) values, between three vertices."""
    return w0 * a[i0, c] + w1 * a[i1, c] + w2 * a[i2, c]


@inlined
def _unit(x: Scalar, y: Scalar, z: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    scale = np.float32(1) / math.sqrt(x * x + y * y + z * z + np.float32(1e-12))
    return x * scale, y * scale, z * scale


@inlined
def _dress(colour: Scalar, wanted: Scalar, is_patterned: bool, spot: Scalar, fold: Scalar, part: Scalar) -> Scalar:
    """One channel of cloth: the outfit's colour and pattern, with the light and dark of the texture's folds."""
    value = wanted * (spot * spot * np.float32(2.2 / 65025)) if is_patterned else wanted
    return colour + (value * fold - colour) * part


@inlined
def _surface_colour(
    surface: Surface,
    linear: FloatArray,
    part: int,
    i0: int,
    i1: int,
    i2: int,
    w0: Scalar,
    w1: Scalar,
    w2: Scalar,
    samples: int,
) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """Linear red, green, blue: the texture's, recoloured where the outfit says; and the part of cloth in it."""
    mesh, paint = surface.mesh, surface.paint
    uv, row, mode = mesh.texture_uv, mesh.part_textures[part], mesh.part_modes[part]
    u, v = _mix(uv, 0, i0, i1, i2, w0, w1, w2), _mix(uv, 1, i0, i1, i2, w0, w1, w2)
    side = mesh.textures.sides[row]
    level = _level(surface.points, uv, i0, i1, i2, side, mesh.textures.num_levels[row], samples)
    tr, tg, tb, alpha = _texel(mesh.textures.texels, mesh.textures.starts[row, level], side >> level, u, v)
    cloth = alpha / np.float32(255) if mode == CLOTH_IN_ALPHA else np.float32(0 if mode == PLAIN else 1)
    r: Scalar = linear[int(tr)]
    g: Scalar = linear[int(tg)]
    b: Scalar = linear[int(tb)]
    dressed = cloth * paint.styles[part, 0]
    if dressed > 0.01:
        rest_y = _mix(mesh.vertices, 1, i0, i1, i2, w0, w1, w2)
        is_patterned = paint.styles[part, 1] > 0
        pr = pg = pb = np.float32(0)
        if is_patterned:
            fine = paint.styles[part, 2]
            at = min(max(level - 1, 0), paint.pattern.num_levels[0] - 1)
            rest_x = _mix(mesh.vertices, 0, i0, i1, i2, w0, w1, w2)
            start, pattern_side = paint.pattern.starts[0, at], paint.pattern.sides[0] >> at
            pr, pg, pb, _ = _texel(paint.pattern.texels, start, pattern_side, rest_x * fine, rest_y * fine)
        brightness = np.float32(0.3) * r + np.float32(0.6) * g + np.float32(0.1) * b
        fold = np.float32(0.25) + np.float32(0.6) * min(brightness / np.float32(0.12), np.float32(1.8))
        colours = paint.above if rest_y > paint.styles[part, 3] else paint.below
        r = _dress(r, colours[part, 0], is_patterned, pr, fold, dressed)
        g = _dress(g, colours[part, 1], is_patterned, pg, fold, dressed)
        b = _dress(b, colours[part, 2], is_patterned, pb, fold, dressed)
    if mode != ALL_TINTED:
        bare = 1 - cloth
        r *= 1 + (paint.skin[0] - 1) * bare
        g *= 1 + (paint.skin[1] - 1) * bare
        b *= 1 + (paint.skin[2] - 1) * bare
    return r, g, b, cloth


@inlined
def _shade_sample(
    image: ImageArray,
    y: int,
    x: int,
    buffer: FrameBuffer,
    surface: Surface,
    light: Light,
    shadows: ShadowMap,
    eye: FloatArray,
    samples: int,
    linear: FloatArray,
    table: FloatArray,
) -> None:
    triangles, vertices, normals, points = surface.mesh.triangles, surface.vertices, surface.normals, surface.points
    t, b1, b2 = buffer.triangle[y, x], buffer.weights[y, x, 0], buffer.weights[y, x, 1]
    i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    w0, w1, w2 = (1 - b1 - b2) * points[i0, 2], b1 * points[i1, 2], b2 * points[i2, 2]
    scale = np.float32(1) / (w0 + w1 + w2)
    w0, w1, w2 = w0 * scale, w1 * scale, w2 * scale
    red, green, blue, cloth = _surface_colour(surface, linear, surface.mesh.parts[t], i0, i1, i2, w0, w1, w2, samples)
    px, py, pz = (
        _mix(vertices, 0, i0, i1, i2, w0, w1, w2),
        _mix(vertices, 1, i0, i1, i2, w0, w1, w2),
        _mix(vertices, 2, i0, i1, i2, w0, w1, w2),
    )
    nx, ny, nz = _unit(
        _mix(normals, 0, i0, i1, i2, w0, w1, w2),
        _mix(normals, 1, i0, i1, i2, w0, w1, w2),
        _mix(normals, 2, i0, i1, i2, w0, w1, w2),
    )
    vx, vy, vz = _unit(eye[0] - px, eye[1] - py, eye[2] - pz)
    facing = nx * vx + ny * vy + nz * vz
    if facing < 0:
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    sx, sy, sz = light.sun_direction[0], light.sun_direction[1], light.sun_direction[2]
    sun, shine = nx * sx + ny * sy + nz * sz, np.float32(0)
    if sun > 0:
        lift = np.float32(0.012)
        sun *= light_part(shadows.nearness, shadows.matrix, px + nx * lift, py + ny * lift, pz + nz * lift, 0.02)
        hx, hy, hz = _unit(vx + sx, vy + sy, vz + sz)
        half = max(nx * hx + ny * hy + nz * hz, np.float32(0)) ** 8
        shine = half * half * half * np.float32(0.12) * (1 - np.float32(0.7) * cloth) * sun
    sun = max(sun, np.float32(0))
    open_sky, rim = np.float32(0.775) + np.float32(0.225) * ny, (1 - facing) ** 4 * np.float32(0.045)
    mx, my, mz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
    for c in range(3):
        colour = red if c == 0 else (green if c == 1 else blue)
        received = _soft_light(light.irradiance, c, nx, ny, nz) * open_sky + light.sun_colour[c] * sun
        extra = light.sun_colour[c] * shine + _soft_light(light.irradiance, c, mx, my, mz) * rim
        image[y, x, c] = tone((colour * received + extra) * light.exposure[0], table)


@inlined
def _is_uniform(buffer: FrameBuffer, y: int, x: int, factor: int, number: int) -> bool:
    """Whether the samples of a pixel all show one body at about one distance."""
    low, high = buffer.nearness[y, x], buffer.nearness[y, x]
    for j in range(y, y + factor):
        for i in range(x, x + factor):
            if buffer.owner[j, i] != number:
                return False
            low, high = min(low, buffer.nearness[j, i]), max(high, buffer.nearness[j, i])
    return high - low < _SAME_PLACE * high


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
    number = surface.number[0]
    for row in range(bounds[1], bounds[3]):
        for column in range(bounds[0], bounds[2]):
            y0, x0 = row * factor, column * factor
            is_uniform = _is_uniform(buffer, y0, x0, factor, number)
            samples = factor * factor if is_uniform else 1
            for k in range(factor * factor):
                y, x = y0 + k // factor, x0 + k % factor
                if k > 0 and is_uniform:
                    for c in range(3):
                        image[y, x, c] = image[y0, x0, c]
                elif buffer.owner[y, x] == number:
                    _shade_sample(image, y, x, buffer, surface, light, shadows, eye, samples, linear, table)
