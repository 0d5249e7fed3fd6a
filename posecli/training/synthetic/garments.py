"""What people wear beside the clothes they come with: skirts and coats, hats, backpacks."""

from __future__ import annotations

import numpy as np

from posecli.records import FloatArray
from posecli.training.synthetic.avatar import Avatar
from posecli.training.synthetic.mesh import Mesh, ball_mesh, box_mesh, one_bone_mesh
from posecli.training.synthetic.rig import BONE_INDEX
from posecli.training.synthetic.textures import TextureStack

_COLUMNS, _ROWS = 28, 8
_HIPS, _HEAD, _CHEST = BONE_INDEX["Hips"], BONE_INDEX["Head"], BONE_INDEX["Spine2"]
_LEGS = (("LeftUpLeg", "LeftLeg"), ("RightUpLeg", "RightLeg"))
_BETWEEN_LEGS_M = 0.06


def skirt_mesh(avatar: Avatar, textures: TextureStack, rng: np.random.Generator) -> Mesh:
    """A tube from the waist to somewhere between thighs and ankles, that follows hips and legs."""
    joints = avatar.rig.joints
    waist, knee, ankle = joints[_HIPS, 1] + 0.06, joints[BONE_INDEX["LeftLeg"], 1], joints[BONE_INDEX["LeftFoot"], 1]
    hem = rng.uniform(ankle + 0.08, knee + 0.22)
    crotch = joints[BONE_INDEX["LeftUpLeg"], 1] - 0.12
    around = avatar.mesh.vertices
    is_trunk = (around[:, 1] > crotch) & (around[:, 1] < waist) & (np.abs(around[:, 0]) < 0.3)
    trunk = around[is_trunk]
    half_x = float(np.abs(trunk[:, 0]).max()) if len(trunk) else 0.17
    low_z, high_z = (float(trunk[:, 2].min()), float(trunk[:, 2].max())) if len(trunk) else (-0.12, 0.12)
    down, angle = np.meshgrid(np.linspace(0, 1, _ROWS), np.linspace(0, 2 * np.pi, _COLUMNS + 1), indexing="ij")
    narrow = 1 - 0.12 * np.exp(-down * 8)
    wide = narrow * (1 + down * rng.uniform(0.05, 0.7)) * (1 + 0.05 * down * np.sin(angle * int(rng.integers(3, 12))))
    y = waist + (hem - waist) * down
    x = np.cos(angle) * (half_x + 0.025) * wide
    z = (low_z + high_z) / 2 + np.sin(angle) * ((high_z - low_z) / 2 + 0.03) * wide
    corner = (np.arange(_ROWS - 1)[:, None] * (_COLUMNS + 1) + np.arange(_COLUMNS)).reshape(-1)
    below = corner + _COLUMNS + 1
    triangles = np.concatenate(
        [np.stack([corner, corner + 1, below + 1], axis=1), np.stack([corner, below + 1, below], axis=1)]
    )
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    normals = np.stack([np.cos(angle), 0.2 + 0 * angle, np.sin(angle)], axis=-1).reshape(-1, 3) / 1.02
    uv = np.stack([angle / (2 * np.pi) * 3, down * 2], axis=-1).reshape(-1, 2)
    mesh = one_bone_mesh(vertices, normals, uv.astype(np.float32), triangles, textures)
    return _with_leg_weights(mesh, float(waist), float(knee))


def _with_leg_weights(mesh: Mesh, waist: float, knee: float) -> Mesh:
    """The top moves with the hips, the rest with the nearer thigh, and below the knees partly with the shins."""
    height, side = mesh.vertices[:, 1].astype(np.float64), mesh.vertices[:, 0].astype(np.float64)
    of_legs = np.clip((waist - height) / max(waist - knee, 0.1) * 1.3, 0, 1) * 0.85
    of_shins = np.clip((knee - height) / 0.25, 0, 1) * 0.7
    left = 1 / (1 + np.exp(-side / _BETWEEN_LEGS_M))
    bones, weights = np.zeros((len(height), 4), np.int32), np.zeros((len(height), 4), np.float32)
    (left_thigh, left_shin), (right_thigh, right_shin) = ([BONE_INDEX[name] for name in names] for names in _LEGS)
    shares = np.stack(
        [left * (1 - of_shins), left * of_shins, (1 - left) * (1 - of_shins), (1 - left) * of_shins], axis=1
    )
    shares *= of_legs[:, None]
    bones[:] = [left_thigh, left_shin, right_thigh, right_shin]
    weights[:] = shares
    smallest = shares.argmin(axis=1)  # only four bones a vertex: the hips take the place of the least of the legs
    rows = np.arange(len(height))
    bones[rows, smallest], weights[rows, smallest] = _HIPS, (1 - of_legs).astype(np.float32)
    return mesh._replace(bones=bones, weights=weights / weights.sum(axis=1, keepdims=True))


def hat_meshes(avatar: Avatar, textures: TextureStack, rng: np.random.Generator) -> list[Mesh]:
    """A cap or a hat: a dome over the head, with or without a brim."""
    mesh = avatar.mesh
    is_head = mesh.bones[np.arange(len(mesh.bones)), mesh.weights.argmax(axis=1)] == _HEAD
    head = mesh.vertices[is_head]
    eyes = avatar.rig.joints[BONE_INDEX["LeftEye"], 1]
    skull = head[head[:, 1] > eyes + 0.02] if len(head) else head
    if len(skull) < 3:
        return []
    low, high = skull.min(axis=0), skull.max(axis=0)
    middle = np.array([0.0, eyes + rng.uniform(0.03, 0.06), (low[2] + high[2]) / 2])
    rise = max(float(high[1]) - middle[1], 0.08) * rng.uniform(1.05, 1.35)
    size = np.array([float(high[0] - low[0]) + 0.03, 2 * rise, float(high[2] - low[2]) + 0.03])
    meshes = [_placed(ball_mesh(size.astype(np.float32), textures), middle, _HEAD)]
    kind = rng.random()
    if kind < 0.35:  # a peak
        brim = np.array([size[0] * 0.8, 0.015, 0.2])
        meshes.append(
            _placed(ball_mesh(brim.astype(np.float32), textures), middle + np.array([0, 0, size[2] * 0.45]), _HEAD)
        )
    elif kind < 0.7:
        brim = np.array([1.0, 0.02, 1.0]) * [size[0] + 0.14, 1.0, size[2] + 0.14]
        meshes.append(_placed(ball_mesh(brim.astype(np.float32), textures), middle, _HEAD))
    return meshes


def backpack_mesh(avatar: Avatar, textures: TextureStack, rng: np.random.Generator) -> Mesh:
    """A box on the back."""
    size = rng.uniform([0.22, 0.28, 0.1], [0.36, 0.6, 0.26])
    neck = avatar.rig.joints[BONE_INDEX["Neck"]]
    behind = float(avatar.mesh.vertices[_near_chest(avatar), 2].min()) - size[2] / 2
    middle = np.array([0.0, neck[1] - size[1] / 2 - 0.03, behind + 0.02])
    return _placed(box_mesh(size.astype(np.float32), textures), middle, _CHEST)


def _near_chest(avatar: Avatar) -> np.ndarray:
    chest = avatar.rig.joints[_CHEST, 1]
    vertices = avatar.mesh.vertices
    return np.flatnonzero((np.abs(vertices[:, 1] - chest) < 0.15) & (np.abs(vertices[:, 0]) < 0.12))


def _placed(mesh: Mesh, middle: FloatArray | np.ndarray, bone: int) -> Mesh:
    vertices = (mesh.vertices + np.asarray(middle)).astype(np.float32)
    return mesh._replace(vertices=vertices, bones=np.full_like(mesh.bones, bone))
