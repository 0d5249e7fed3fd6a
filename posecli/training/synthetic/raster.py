"""The rasteriser: skinning, projection, and triangles into a z-buffer.

Nearness is 1 / depth in a perspective view (it is linear on the screen), and the distance towards the light in a shadow map; the
larger value wins, 0 and below is empty.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from posecli.records import FloatArray
from posecli.training.synthetic.compiled import compiled, inlined
from posecli.training.synthetic.mesh import Mesh

_EPS, _FULL = np.float32(1e-6), np.float32(1 + 1e-6)
_NO_AREA = np.float32(1e-9)


class FrameBuffer(NamedTuple):
    """What is seen at every sample.

    ``nearness``; ``owner``: 0 nothing, else the body's number; ``triangle`` of its mesh; ``weights`` (H, W, 2) of its second and
    third corner.
    """

    nearness: FloatArray
    owner: np.ndarray
    triangle: np.ndarray
    weights: FloatArray

    @classmethod
    def empty(cls, width: int, height: int) -> FrameBuffer:
        """Nothing seen yet."""
        return cls(
            np.zeros((height, width), np.float32),
            np.zeros((height, width), np.uint8),
            np.zeros((height, width), np.int32),
            np.zeros((height, width, 2), np.float32),
        )


def skin(mesh: Mesh, vertices: FloatArray, bone_matrices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Move a mesh with its bones.

    Args:
        mesh: Weights and normals.
        vertices: (V, 3) at rest, those of the mesh or others.
        bone_matrices: (B, 3, 4).

    Returns:
        (V, 3) vertices and (V, 3) normals in the world.
    """
    out_vertices, out_normals = np.empty_like(vertices), np.empty_like(vertices)
    _skin(vertices, mesh.normals, mesh.bones, mesh.weights, bone_matrices, out_vertices, out_normals)
    return out_vertices, out_normals


@compiled
def _skin(
    vertices: FloatArray,
    normals: FloatArray,
    bones: np.ndarray,
    weights: FloatArray,
    matrices: FloatArray,
    out_vertices: FloatArray,
    out_normals: FloatArray,
) -> None:
    m = np.empty((3, 4), np.float32)
    for i in range(vertices.shape[0]):
        m[:] = 0
        for k in range(4):
            w, bone = weights[i, k], bones[i, k]
            if w > 0:
                for r in range(3):
                    for c in range(4):
                        m[r, c] += w * matrices[bone, r, c]
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        a, b, c_ = normals[i, 0], normals[i, 1], normals[i, 2]
        for r in range(3):
            out_vertices[i, r] = m[r, 0] * x + m[r, 1] * y + m[r, 2] * z + m[r, 3]
            out_normals[i, r] = m[r, 0] * a + m[r, 1] * b + m[r, 2] * c_


@compiled
def project_vertices(vertices: FloatArray, camera: FloatArray, near: float, out: FloatArray) -> None:
    """(V, 3) world -> ``out`` (V, 3) x px, y px, 1 / depth; -1 in front of the near plane. ``camera``: see `Camera.flat`."""
    focal, cx, cy = camera[12], camera[13], camera[14]
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0] - camera[9], vertices[i, 1] - camera[10], vertices[i, 2] - camera[11]
        depth = camera[6] * x + camera[7] * y + camera[8] * z
        if depth < near:
            out[i, 2] = -1
            continue
        inverse = np.float32(1) / depth
        out[i, 0] = (camera[0] * x + camera[1] * y + camera[2] * z) * inverse * focal + cx
        out[i, 1] = (camera[3] * x + camera[4] * y + camera[5] * z) * inverse * focal + cy
        out[i, 2] = inverse


@compiled
def transform_vertices(vertices: FloatArray, matrix: FloatArray, out: FloatArray) -> None:
    """(V, 3) through an affine (3, 4), for a view from infinitely far."""
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for r in range(3):
            out[i, r] = matrix[r, 0] * x + matrix[r, 1] * y + matrix[r, 2] * z + matrix[r, 3]


@inlined
def _span(a: float, b: float, c: float, size: int) -> tuple[int, int]:
    """The first and the last pixel centre between three coordinates."""
    return max(0, math.ceil(min(a, b, c))), min(size - 1, math.floor(max(a, b, c)))


@compiled
def rasterise(
    points: FloatArray,
    triangles: np.ndarray,
    owner_id: int,
    nearness: FloatArray,
    owner: np.ndarray,
    triangle: np.ndarray,
    weights: FloatArray,
) -> None:
    """Draw triangles into the buffers of a `FrameBuffer`; ``points`` (V, 3) as `project_vertices` gives them."""
    height, width = nearness.shape
    for t in range(triangles.shape[0]):
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = points[i0, 0], points[i0, 1], points[i0, 2]
        bx, by, bz = points[i1, 0], points[i1, 1], points[i1, 2]
        cx, cy, cz = points[i2, 0], points[i2, 1], points[i2, 2]
        if az <= 0 or bz <= 0 or cz <= 0:
            continue
        x0, x1 = _span(ax, bx, cx, width)
        y0, y1 = _span(ay, by, cy, height)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if x0 > x1 or y0 > y1 or abs(area) < _NO_AREA:
            continue
        inverse = np.float32(1) / area
        ux, uy, vx, vy = (cy - ay) * inverse, (ax - cx) * inverse, (ay - by) * inverse, (bx - ax) * inverse
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                b1 = (np.float32(x) - ax) * ux + (np.float32(y) - ay) * uy
                b2 = (np.float32(x) - ax) * vx + (np.float32(y) - ay) * vy
                if b1 < -_EPS or b2 < -_EPS or b1 + b2 > _FULL:
                    continue
                value = az + b1 * (bz - az) + b2 * (cz - az)
                if value > nearness[y, x]:
                    nearness[y, x], owner[y, x], triangle[y, x] = value, owner_id, t
                    weights[y, x, 0], weights[y, x, 1] = b1, b2


@compiled
def rasterise_depth(points: FloatArray, triangles: np.ndarray, nearness: FloatArray) -> None:
    """Draw triangles into a shadow map."""
    height, width = nearness.shape
    for t in range(triangles.shape[0]):
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = points[i0, 0], points[i0, 1], points[i0, 2]
        bx, by, bz = points[i1, 0], points[i1, 1], points[i1, 2]
        cx, cy, cz = points[i2, 0], points[i2, 1], points[i2, 2]
        x0, x1 = _span(ax, bx, cx, width)
        y0, y1 = _span(ay, by, cy, height)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if x0 > x1 or y0 > y1 or abs(area) < _NO_AREA:
            continue
        inverse = np.float32(1) / area
        ux, uy, vx, vy = (cy - ay) * inverse, (ax - cx) * inverse, (ay - by) * inverse, (bx - ax) * inverse
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                b1 = (np.float32(x) - ax) * ux + (np.float32(y) - ay) * uy
                b2 = (np.float32(x) - ax) * vx + (np.float32(y) - ay) * vy
                if b1 >= -_EPS and b2 >= -_EPS and b1 + b2 <= _FULL:
                    value = az + b1 * (bz - az) + b2 * (cz - az)
                    nearness[y, x] = max(nearness[y, x], value)
