"""Shadows: a map of what the sun sees first, and a soft dark patch where a body touches the ground."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from posecli.records import FloatArray, ImageArray
from posecli.training.synthetic.camera import Camera
from posecli.training.synthetic.compiled import Scalar, compiled, inlined
from posecli.training.synthetic.raster import rasterise_depth, transform_vertices
from posecli.training.synthetic.rotations import Reals

_SIDE_PX = 384
_CONTACT_PX = 128
_CONTACT_HEIGHT_M = 0.35  # higher things do not darken the ground
_FAR_M = 40.0


class ShadowMap(NamedTuple):
    """``matrix`` (3, 4) world -> map px and distance towards the sun, ``nearness`` (S, S) of the first surface.

    ``contact`` (C, C): part of the sky that a point on the ground sees; ``contact_matrix`` (2, 3): x, z metres -> its px.
    """

    matrix: FloatArray
    nearness: FloatArray
    contact: FloatArray
    contact_matrix: FloatArray


def make_shadow_map(
    bodies: list[tuple[FloatArray, np.ndarray]], sun_direction: Reals, centre: Reals, radius: float
) -> ShadowMap:
    """Look from the sun.

    Args:
        bodies: Vertices (V, 3) in the world and triangles (F, 3) of each.
        sun_direction: (3,) towards the sun.
        centre: (3,) middle of what is mapped.
        radius: Metres around it.
    """
    forward = sun_direction / np.linalg.norm(sun_direction)
    right = np.cross(forward, [0.0, 1.0, 0.0] if abs(forward[1]) < 0.95 else [1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    scale = _SIDE_PX / (2 * radius)
    rows = np.stack([right * scale, np.cross(forward, right) * scale, forward])
    shift = np.array([(_SIDE_PX - 1) / 2, (_SIDE_PX - 1) / 2, _FAR_M])
    matrix = np.concatenate([rows, (shift - rows @ centre)[:, None]], axis=1).astype(np.float32)
    nearness = np.zeros((_SIDE_PX, _SIDE_PX), np.float32)
    contact_scale = _CONTACT_PX / (2 * radius)
    contact_matrix = np.array(
        [
            [contact_scale, 0, (_CONTACT_PX - 1) / 2 - contact_scale * centre[0]],
            [0, contact_scale, (_CONTACT_PX - 1) / 2 - contact_scale * centre[2]],
        ],
        np.float32,
    )
    closed = np.zeros((_CONTACT_PX, _CONTACT_PX), np.float32)
    for vertices, triangles in bodies:
        points = np.empty_like(vertices)
        transform_vertices(vertices, matrix, points)
        rasterise_depth(points, triangles, nearness)
        _mark_contact(vertices, contact_matrix, closed)
    blurred = np.asarray(cv2.GaussianBlur(closed, (0, 0), max(0.07 * contact_scale, 0.7)), np.float32)
    return ShadowMap(matrix, nearness, 1 - blurred, contact_matrix)


@compiled
def _mark_contact(vertices: FloatArray, matrix: FloatArray, closed: FloatArray) -> None:
    side = closed.shape[0]
    for i in range(vertices.shape[0]):
        height = max(vertices[i, 1], np.float32(0))
        if height < _CONTACT_HEIGHT_M:
            x = int(matrix[0, 0] * vertices[i, 0] + matrix[0, 2] + np.float32(0.5))
            y = int(matrix[1, 1] * vertices[i, 2] + matrix[1, 2] + np.float32(0.5))
            if 0 <= x < side and 0 <= y < side:
                near = 1 - height / _CONTACT_HEIGHT_M
                closed[y, x] = max(closed[y, x], near * near)


@inlined
def light_part(nearness: FloatArray, matrix: FloatArray, x: Scalar, y: Scalar, z: Scalar, bias: Scalar) -> Scalar:
    """Part of the sun that a point sees, of nine samples around it; 1 outside the map."""
    side = nearness.shape[0]
    u = math.floor(matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3] + np.float32(0.5))
    v = math.floor(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3] + np.float32(0.5))
    if u < 1 or v < 1 or u > side - 2 or v > side - 2:
        return np.float32(1)
    own = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3] + bias
    count = 0
    for j in range(v - 1, v + 2):
        for i in range(u - 1, u + 2):
            if nearness[j, i] <= own:
                count += 1
    return np.float32(count) * np.float32(1 / 9)


def shade_ground(image: ImageArray, camera: Camera, shadows: ShadowMap, *, strength: float) -> None:
    """Darken the ground (y = 0) of a picture in place; ``strength`` of the cast shadow 0 to 1."""
    _shade_ground(
        image, camera.flat, shadows.matrix, shadows.nearness, shadows.contact, shadows.contact_matrix, strength
    )


@compiled
def _shade_ground(
    image: ImageArray,
    camera: FloatArray,
    matrix: FloatArray,
    nearness: FloatArray,
    contact: FloatArray,
    contact_matrix: FloatArray,
    strength: float,
) -> None:
    r, focal = camera[:9], camera[12]
    side = contact.shape[0]
    for row in range(image.shape[0]):
        b = (row - camera[14]) / focal
        for column in range(image.shape[1]):
            a = (column - camera[13]) / focal
            down = r[1] * a + r[4] * b + r[7]
            if down > -1e-4:
                continue
            t = -camera[10] / down
            x = camera[9] + t * (r[0] * a + r[3] * b + r[6])
            z = camera[11] + t * (r[2] * a + r[5] * b + r[8])
            u = int(contact_matrix[0, 0] * x + contact_matrix[0, 2] + np.float32(0.5))
            v = int(contact_matrix[1, 1] * z + contact_matrix[1, 2] + np.float32(0.5))
            if u < 0 or v < 0 or u >= side or v >= side:
                continue
            part = light_part(nearness, matrix, x, 0.0, z, 0.02)
            factor = (1 - strength * (1 - part)) * (0.35 + 0.65 * contact[v, u])
            if factor < 0.999:
                factor = factor**0.4545
                for c in range(3):
                    image[row, column, c] = int(image[row, column, c] * factor)
