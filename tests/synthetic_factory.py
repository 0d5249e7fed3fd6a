"""A tiny avatar, two motions, a place and a photograph, written in the file formats that rendering reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson

from posecli.training.synthetic.rig import BONE_INDEX, BONES, PARENTS

JOINTS = {
    "Hips": (0.0, 0.95, 0.0),
    "Spine": (0.0, 1.05, 0.0),
    "Spine1": (0.0, 1.15, 0.0),
    "Spine2": (0.0, 1.25, 0.0),
    "Neck": (0.0, 1.45, 0.0),
    "Head": (0.0, 1.55, 0.02),
    "Eye": (0.03, 1.62, 0.09),
    "Shoulder": (0.04, 1.42, 0.0),
    "Arm": (0.16, 1.42, 0.0),
    "ForeArm": (0.43, 1.42, 0.0),
    "Hand": (0.68, 1.42, 0.0),
    "UpLeg": (0.09, 0.9, 0.0),
    "Leg": (0.09, 0.5, 0.0),
    "Foot": (0.09, 0.08, -0.02),
    "ToeBase": (0.09, 0.02, 0.1),
}
THICKNESS = {"Hips": 0.14, "Spine": 0.14, "Spine1": 0.14, "Spine2": 0.11, "Neck": 0.06, "UpLeg": 0.08, "Leg": 0.06}
SKIN, CLOTH, HAIR = (200, 150, 120), (40, 60, 160), (30, 20, 10)


def rest_joints() -> np.ndarray:
    """(24, 3)."""
    rows = []
    for name in BONES:
        side = next((side for side in ("Left", "Right") if name.startswith(side)), "")
        sign = -1.0 if side == "Right" else 1.0
        rows.append(np.array(JOINTS[name.removeprefix(side)]) * [sign, 1, 1])
    return np.array(rows)


def _box(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * (high - low) + low
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return corners, np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def _ball(middle: np.ndarray, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rings, columns = 12, 20
    v, u = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij")
    points = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], axis=-1).reshape(-1, 3)
    corner = (np.arange(rings - 1)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1)
    below = corner + columns + 1
    faces = [np.stack([corner, below, below + 1], axis=1), np.stack([corner, below + 1, corner + 1], axis=1)]
    return points * radii + middle, np.concatenate(faces)


def _limbs(joints: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """A box for every bone that carries another, from joint to joint."""
    parts = []
    for bone, parent in enumerate(PARENTS):
        name = BONES[parent].removeprefix("Left").removeprefix("Right") if parent >= 0 else ""
        if parent < 0 or name == "Head":
            continue
        ends = np.stack([joints[parent], joints[bone]])
        half = THICKNESS.get(name, 0.045)
        if abs(ends[0, 0] - ends[1, 0]) > 0.05 and name in {"Hips", "Spine2"}:
            half = 0.05
        vertices, faces = _box(ends.min(axis=0) - half, ends.max(axis=0) + half)
        parts.append((parent, vertices, faces))
    for side in ("Left", "Right"):
        hand = BONE_INDEX[side + "Hand"]
        reach = joints[hand] + np.array([0.15 if side == "Left" else -0.15, 0.0, 0.0])
        ends = np.stack([joints[hand], reach])
        parts.append((hand, *_box(ends.min(axis=0) - 0.03, ends.max(axis=0) + 0.03)))
    return parts


def _part(
    number: int, name: str, texture: int, pieces: list[tuple[int, np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    vertices, faces, bones, count = [], [], [], 0
    for bone, points, triangles in pieces:
        vertices.append(points)
        faces.append(triangles + count)
        bones += [bone] * len(points)
        count += len(points)
    every = np.concatenate(vertices)
    is_bare = np.isin(bones, [BONE_INDEX[name] for name in ("Head", "LeftHand", "RightHand")])
    uv = np.column_stack(
        [np.where(is_bare, 0.75, 0.25) + every[:, 0] * np.where(is_bare, 0.1, 0.25), 0.5 + 0.2 * (every[:, 1] - 0.9)]
    )
    weights = np.zeros((count, 4), np.uint8)
    weights[:, 0] = 255
    return {
        f"V{number}": (every * 16000).round().astype(np.int16),
        f"F{number}": np.concatenate(faces).astype(np.uint16),
        f"UV{number}": (np.clip(uv, 0, 1) * 65535).astype(np.uint16),
        f"j{number}": np.column_stack([bones, np.zeros((count, 3), int)]).astype(np.uint8),
        f"w{number}": weights,
        f"n{number}": np.array(name),
        f"m{number}": np.array(texture),
    }


def write_avatar(path: Path) -> None:
    """A person of boxes with a round head and a cap of hair; blue clothes."""
    joints = rest_joints()
    head = (BONE_INDEX["Head"], *_ball(np.array([0.0, 1.62, 0.02]), np.array([0.085, 0.12, 0.1])))
    hair = (BONE_INDEX["Head"], *_ball(np.array([0.0, 1.68, -0.02]), np.array([0.09, 0.08, 0.1])))
    texture = np.zeros((256, 256, 3), np.uint8)
    texture[:, :128], texture[:, 128:] = CLOTH, SKIN
    noise = np.random.default_rng(0).integers(-6, 7, texture.shape)
    pictures = [np.clip(texture + noise, 0, 255).astype(np.uint8), np.full((32, 32, 3), HAIR, np.uint8)]
    encoded = [cv2.imencode(".webp", picture[..., ::-1])[1].reshape(-1) for picture in pictures]
    content: dict[str, Any] = {
        "jn": np.array(BONES),
        "J": joints.astype(np.float32),
        **_part(0, "body", 0, [*_limbs(joints), head]),
        **_part(1, "wig", 1, [hair]),
        "tex0": encoded[0],
        "tex1": encoded[1],
    }
    np.savez(path, **content)


def _about_x(angle: np.ndarray) -> np.ndarray:
    """(F,) -> (F, 4) w, x, y, z with w >= 0."""
    return np.stack([np.cos(angle / 2), np.sin(angle / 2), 0 * angle, 0 * angle], axis=-1)


def write_motions(path: Path, *, names: tuple[str, ...] = ("walk", "stand")) -> None:
    """Forty frames each: one walks forwards and swings its legs, the others stand."""
    own = [name for name in BONES if not name.endswith("Eye")]
    frames, time = 40, np.arange(40) / 30
    quaternions, roots = [], []
    for number, _ in enumerate(names):
        swing = np.sin(time * 6) * (0.5 if number == 0 else 0.0)
        q = np.tile([1.0, 0, 0, 0], (frames, len(own), 1))
        for side, sign in (("Left", 1.0), ("Right", -1.0)):
            for bone in ("UpLeg", "Leg", "Foot", "ToeBase"):
                q[:, own.index(side + bone)] = _about_x(swing * sign)
        quaternions.append(q[..., 1:])
        roots.append(np.column_stack([0 * time, 0.95 + 0 * time, time * (1.2 if number == 0 else 0.0)]) * 1000)
    directions = np.tile(np.full(3, np.nan), (len(names), 8, 1))
    rest_bones = [side + bone for side in ("Left", "Right") for bone in ("Arm", "ForeArm", "UpLeg", "Leg")]
    directions[:, [2, 3, 6, 7]] = [0.0, -1.0, 0.0]
    np.savez(
        path,
        quat_xyz=(np.concatenate(quaternions) * 32767).round().astype(np.int16),
        root_mm=np.concatenate(roots).round().astype(np.int16),
        offsets=(np.arange(len(names) + 1) * frames).astype(np.int32),
        names=np.array(names),
        source=np.array(["drawn"] * len(names)),
        fps=np.full(len(names), 30, np.float32),
        hip_height_m=np.full(len(names), 0.87, np.float32),
        bones=np.array(own),
        rest_bones=np.array(rest_bones),
        rest_dirs=directions.astype(np.float32),
    )


def write_environment(path: Path) -> None:
    """Blue above, green below, a sun to the right."""
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:32], picture[32:] = (90, 120, 200), (80, 130, 70)
    picture[12:16, 94:100] = 255
    cv2.imwrite(str(path), picture[..., ::-1])


def write_photographs(folder: Path) -> Path:
    """One picture without people, one with somebody at the left edge; returns the label file."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for number in (1, 2):
        picture = np.kron(rng.integers(0, 255, (20, 30, 3)), np.ones((10, 10, 1))).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
    images = [{"id": n, "file_name": f"{n}.png", "width": 300, "height": 200} for n in (1, 2)]
    people = [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [10, 20, 60, 150]}]
    labels = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    path = folder / "set.json"
    path.write_bytes(orjson.dumps(labels))
    return path


def write_assets(folder: Path) -> dict[str, Path]:
    """All of them; keys ``avatars``, ``motions``, ``environments``, ``photographs``."""
    paths = {"avatars": folder / "avatars", "environments": folder / "environments", "motions": folder / "motions.npz"}
    paths["avatars"].mkdir(parents=True)
    paths["environments"].mkdir()
    write_avatar(paths["avatars"] / "boxes.npz")
    write_motions(paths["motions"])
    write_environment(paths["environments"] / "field.jpg")
    return {**paths, "photographs": write_photographs(folder / "photographs")}
