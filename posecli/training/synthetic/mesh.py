"""Surfaces: triangles with textures, moved by bones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posecli.records import FloatArray
from posecli.training.synthetic.textures import TextureStack

PLAIN, CLOTH_IN_ALPHA, ALL_TINTED = 0, 1, 2
_ISLANDS = 24  # cells of the texture a side; an island of it is larger


class Mesh(NamedTuple):
    """V vertices, F triangles, P parts.

    Attributes:
        vertices: (V, 3) metres, at rest.
        normals: (V, 3) at rest.
        texture_uv: (V, 2).
        bones: (V, 4) indices of the bones that move a vertex.
        weights: (V, 4) of these bones; they add up to 1.
        triangles: (F, 3).
        parts: (F,) the part of each triangle.
        part_textures: (P,) index into ``textures``.
        part_modes: (P,) what the outfit may recolour: nothing (PLAIN), what alpha says (CLOTH_IN_ALPHA), or all of it.
        textures: The textures.
        clothing: (V,) 0 to 1, where cloth is.
    """

    vertices: FloatArray
    normals: FloatArray
    texture_uv: FloatArray
    bones: np.ndarray
    weights: FloatArray
    triangles: np.ndarray
    parts: np.ndarray
    part_textures: np.ndarray
    part_modes: np.ndarray
    textures: TextureStack
    clothing: FloatArray


def smooth_normals(vertices: np.ndarray, triangles: np.ndarray) -> FloatArray:
    """(V, 3) normals; vertices at exactly the same place (seams of the texture) share one."""
    places = np.unique(vertices, axis=0, return_inverse=True)[1].reshape(-1)
    corners = vertices[triangles].astype(np.float64)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros((places.max() + 1, 3))
    for k in range(3):
        np.add.at(sums, places[triangles[:, k]], faces)
    normals = sums[places]
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), np.float32)


def coarse_mesh(mesh: Mesh, cell_m: float) -> Mesh:
    """The same surface with fewer triangles, for people who are small in the picture.

    Vertices in the same cell of a grid become one place, so no cracks open; where they lie apart in the texture they stay apart there.

    Args:
        mesh: The surface.
        cell_m: Side of the cells, metres.
    """
    cells = np.floor(mesh.vertices / cell_m).astype(np.int64)
    islands = np.floor(mesh.texture_uv * _ISLANDS).astype(np.int64)
    part_of_vertex = np.zeros(len(cells), np.int64)
    part_of_vertex[mesh.triangles.reshape(-1)] = np.repeat(mesh.parts, 3)
    place = _numbered(np.column_stack([cells, part_of_vertex]))
    first, merged = np.unique(_numbered(np.column_stack([place, islands])), return_index=True, return_inverse=True)[1:]
    counts = np.bincount(place).astype(np.float64)
    centres = np.stack([np.bincount(place, mesh.vertices[:, k]) / counts for k in range(3)], axis=1)
    directions = np.stack([np.bincount(place, mesh.normals[:, k]) for k in range(3)], axis=1)
    normals = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-9)
    triangles = merged.reshape(-1)[mesh.triangles]
    corners = place[first][triangles]
    is_left = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    # One vertex stands for the place's bones: neighbours on both sides of a seam must move alike.
    leaders = np.unique(place, return_index=True)[1][place[first]]
    return mesh._replace(
        vertices=centres[place[first]].astype(np.float32),
        normals=normals[place[first]].astype(np.float32),
        texture_uv=mesh.texture_uv[first],
        bones=mesh.bones[leaders],
        weights=mesh.weights[leaders],
        triangles=np.ascontiguousarray(triangles[is_left], np.int32),
        parts=np.ascontiguousarray(mesh.parts[is_left]),
        clothing=mesh.clothing[first],
    )


def _numbered(keys: np.ndarray) -> np.ndarray:
    """(N, C) integers -> (N,): equal rows get equal numbers from 0."""
    mixed = np.zeros(len(keys), np.int64)
    for column in keys.T:
        low = int(column.min())
        mixed = mixed * (int(column.max()) - low + 1) + (column - low)
    return np.asarray(np.unique(mixed, return_inverse=True)[1].reshape(-1))


def box_mesh(size: FloatArray, textures: TextureStack) -> Mesh:
    """A box about the origin on one bone; ``size`` (3,) metres."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    vertices, normals = [], []
    for axis in range(3):
        for sign in (1.0, -1.0):
            face = np.zeros((4, 3), np.float32)
            face[:, (axis + 1) % 3], face[:, (axis + 2) % 3] = square[:, 0] * sign, square[:, 1]
            face[:, axis] = sign
            vertices.append(face)
            normals.append(np.tile(np.eye(3, dtype=np.float32)[axis] * sign, (4, 1)))
    triangles = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * k for k in range(6)])
    uv = np.tile((square + 1) / 2, (6, 1)).astype(np.float32)
    return one_bone_mesh(np.concatenate(vertices) * size / 2, np.concatenate(normals), uv, triangles, textures)


def ball_mesh(size: FloatArray, textures: TextureStack, *, rings: int = 9, columns: int = 14) -> Mesh:
    """An ellipsoid about the origin on one bone; ``size`` (3,) metres."""
    v, u = np.meshgrid(np.linspace(0, 1, rings), np.linspace(0, 1, columns + 1), indexing="ij")
    unit = np.stack(
        [np.sin(np.pi * v) * np.sin(2 * np.pi * u), np.cos(np.pi * v), np.sin(np.pi * v) * np.cos(2 * np.pi * u)]
    )
    unit = unit.reshape(3, -1).T.astype(np.float32)
    corner = (np.arange(rings - 1)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1)
    below = corner + columns + 1
    triangles = np.concatenate(
        [np.stack([corner, below, below + 1], axis=1), np.stack([corner, below + 1, corner + 1], axis=1)]
    )
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    return one_bone_mesh(unit * size / 2, unit, uv, triangles, textures)


def one_bone_mesh(
    vertices: np.ndarray, normals: np.ndarray, uv: FloatArray, triangles: np.ndarray, textures: TextureStack
) -> Mesh:
    """A mesh of one texture that moves with bone 0."""
    weights = np.zeros((len(vertices), 4), np.float32)
    weights[:, 0] = 1
    return Mesh(
        vertices=np.ascontiguousarray(vertices, np.float32),
        normals=np.ascontiguousarray(normals, np.float32),
        texture_uv=uv,
        bones=np.zeros((len(vertices), 4), np.int32),
        weights=weights,
        triangles=np.ascontiguousarray(triangles, np.int32),
        parts=np.zeros(len(triangles), np.int32),
        part_textures=np.zeros(1, np.int32),
        part_modes=np.array([PLAIN], np.int32),
        textures=textures,
        clothing=np.zeros(len(vertices), np.float32),
    )
