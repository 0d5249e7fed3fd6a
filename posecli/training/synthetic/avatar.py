"""Clothed, textured, rigged people, one file each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posecli.errors import FormatError
from posecli.records import FloatArray, ImageArray
from posecli.training.synthetic.body_points import BodyPoints, find_body_points
from posecli.training.synthetic.mesh import ALL_TINTED, CLOTH_IN_ALPHA, PLAIN, Mesh, coarse_mesh, smooth_normals
from posecli.training.synthetic.rig import BONE_INDEX, BONES, Rig
from posecli.training.synthetic.textures import stack_textures

_VERTEX_UNITS = 16000.0  # per metre
_UV_UNITS = 65535.0
_HANDS = (BONE_INDEX["LeftHand"], BONE_INDEX["RightHand"])
_NEVER_CLOTH = (*_HANDS, BONE_INDEX["Head"], BONE_INDEX["LeftEye"], BONE_INDEX["RightEye"])
_DETAIL = ((0.012, 0.02), (0.006, 0.01))  # coarser than so many metres a pixel: cells of so many metres
_SKIN_DISTANCE = 9.0  # Lab units; lightness counts a third, because skin is shaded


@dataclass(frozen=True, slots=True)
class Avatar:
    """One subject."""

    name: str
    rig: Rig
    mesh: Mesh
    points: BodyPoints
    hair_part: int
    _coarser: dict[float, Mesh] = field(default_factory=dict)

    def mesh_for(self, metres_per_px: float) -> Mesh:
        """The mesh with as much detail as shows."""
        cell = next((cell for limit, cell in _DETAIL if metres_per_px > limit), 0.0)
        if not cell:
            return self.mesh
        if cell not in self._coarser:
            self._coarser[cell] = coarse_mesh(self.mesh, cell)
        return self._coarser[cell]


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    raw_vertices: np.ndarray
    triangles: np.ndarray
    uv: FloatArray
    bones: np.ndarray
    weights: FloatArray
    texture: int

    @property
    def main_bones(self) -> np.ndarray:
        """(V,): the bone with the largest weight."""
        return np.asarray(self.bones[np.arange(len(self.bones)), self.weights.argmax(axis=1)])


def read_avatar(path: Path) -> Avatar:
    """Read a subject.

    Args:
        path: An ``.npz`` with ``J`` rest joints of the bones ``jn``; parts ``V`` (int16, 16000 a metre), ``F``, ``UV`` (uint16),
            ``j`` and ``w`` (four bones and weights of 255), ``n`` name, ``m`` texture index, numbered from 0, the body first;
            ``tex0``... (image files).

    Raises:
        FormatError: The file cannot be read, lacks a key, or has other bones.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
        if tuple(str(name) for name in content["jn"]) != BONES:
            raise FormatError(f"{path}: its bones are not {', '.join(BONES)}")
        parts = [_read_part(content, i) for i in range(sum(key[0] == "V" for key in content))]
        textures = [_read_texture(content[f"tex{i}"]) for i in range(sum(key.startswith("tex") for key in content))]
        return _assemble(path.stem, content["J"].astype(np.float64), parts, textures)
    except (OSError, ValueError, KeyError, IndexError, cv2.error) as error:
        raise FormatError(f"{path}: not an avatar: {error}") from error


def _read_part(content: dict[str, Any], i: int) -> _Part:
    weights = content[f"w{i}"].astype(np.float32)
    return _Part(
        name=str(content[f"n{i}"]),
        raw_vertices=content[f"V{i}"],
        triangles=content[f"F{i}"].astype(np.int32),
        uv=content[f"UV{i}"].astype(np.float32) / np.float32(_UV_UNITS),
        bones=content[f"j{i}"].astype(np.int32),
        weights=weights / np.maximum(weights.sum(axis=1, keepdims=True), 1.0),
        texture=int(content[f"m{i}"]),
    )


def _read_texture(data: np.ndarray) -> ImageArray:
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("a texture is no image")
    return np.asarray(image, np.uint8)


def _assemble(name: str, joints: FloatArray, parts: list[_Part], textures: list[ImageArray]) -> Avatar:
    body = parts[0]
    if max(part.texture for part in parts) >= len(textures):
        raise ValueError(f"{len(textures)} textures, a part names number {max(part.texture for part in parts)}")
    mask = _cloth_mask(body, textures[body.texture])
    pictures = [
        np.dstack([texture, mask if i == body.texture else np.full(texture.shape[:2], 255, np.uint8)])
        for i, texture in enumerate(textures)
    ]
    rig = Rig(np.asarray(joints, np.float64))
    side = len(mask)
    rows, columns = (np.clip(body.uv[:, k] * side, 0, side - 1).astype(int) for k in (1, 0))
    clothing = np.zeros(sum(len(part.uv) for part in parts), np.float32)
    clothing[: len(body.uv)] = mask[rows, columns] / np.float32(255)
    starts = np.cumsum([0, *(len(part.uv) for part in parts)])
    mesh = Mesh(
        vertices=np.concatenate([part.raw_vertices for part in parts]).astype(np.float32) / np.float32(_VERTEX_UNITS),
        normals=np.concatenate([smooth_normals(part.raw_vertices, part.triangles) for part in parts]),
        texture_uv=np.concatenate([part.uv for part in parts]),
        bones=np.concatenate([part.bones for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        triangles=np.concatenate([part.triangles + start for part, start in zip(parts, starts, strict=False)]).astype(
            np.int32
        ),
        parts=np.repeat(np.arange(len(parts)), [len(part.triangles) for part in parts]).astype(np.int32),
        part_textures=np.array([part.texture for part in parts], np.int32),
        part_modes=np.array([_mode(part, is_body=part is body) for part in parts], np.int32),
        textures=stack_textures(pictures),
        clothing=clothing,
    )
    vertices = mesh.vertices[: len(body.uv)]
    hair = next((i for i, part in enumerate(parts) if part.texture != body.texture), -1)
    return Avatar(name, rig, mesh, find_body_points(rig, vertices, body.main_bones), hair)


def _mode(part: _Part, *, is_body: bool) -> int:
    if is_body:
        return CLOTH_IN_ALPHA
    return PLAIN if "eye" in part.name else ALL_TINTED


def _cloth_mask(body: _Part, texture: ImageArray) -> ImageArray:
    """(S, S): where the body's texture shows cloth: not on head and hands, and far from the colour of the hands."""
    size = texture.shape[1::-1]
    is_fixed = np.isin(body.main_bones, _NEVER_CLOTH)[body.triangles].all(axis=1)
    is_hand = np.isin(body.main_bones, _HANDS)[body.triangles].all(axis=1)
    fixed, rest, hands = (_fill(body, size, chosen) for chosen in (is_fixed, ~is_fixed, is_hand))
    lab = cv2.cvtColor(texture, cv2.COLOR_RGB2LAB).astype(np.float32)
    if hands.any():
        skin = np.median(lab[hands > 0], axis=0)
        is_far = (np.abs(lab - skin) / np.array([3.2, 1, 1], np.float32)).max(axis=2) > _SKIN_DISTANCE
    else:
        is_far = np.ones(lab.shape[:2], np.bool_)
    mask = ((rest > 0) & (fixed == 0) & is_far).astype(np.uint8) * 255
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    mask = cv2.dilate(mask, np.ones((5, 5), np.uint8)) * (fixed == 0)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.uint8), (5, 5), 0), np.uint8)


def _fill(body: _Part, size_wh: tuple[int, int], is_chosen: np.ndarray) -> ImageArray:
    """The chosen triangles, painted where the texture has them."""
    picture = np.zeros(size_wh[::-1], np.uint8)
    corners = (body.uv * size_wh).round().astype(np.int32)[body.triangles[is_chosen]]
    for triangle in corners:
        cv2.fillConvexPoly(picture, triangle, 255)
    return picture
