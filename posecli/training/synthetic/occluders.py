"""Things in front of the people: flat ones near the camera, and boxes and balls in the room."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from posecli.records import BoolArray, FloatArray, ImageArray
from posecli.training.synthetic.appearance import random_colour, random_pattern
from posecli.training.synthetic.mesh import Mesh, ball_mesh, box_mesh
from posecli.training.synthetic.photographs import Photographs
from posecli.training.synthetic.rotations import Reals, about_y, from_vector
from posecli.training.synthetic.textures import TextureStack, opaque, stack_textures

_SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True)
class Cover:
    """A flat thing before the camera.

    ``outline`` (N, 2) px in the first frame, ``velocity`` (2,) px a frame, ``texture`` (H, W, 3) as large as the picture.
    """

    outline: Reals
    velocity: Reals
    texture: ImageArray

    def apply(self, image: ImageArray, frame: int) -> tuple[ImageArray, BoolArray]:
        """Draw it; returns the picture, and where it covers."""
        height, width = image.shape[:2]
        corners = (self.outline + self.velocity * frame) * (1 << _SUBPIXEL_BITS)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [corners.round().astype(np.int32)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        covered = mask > 127
        if not covered.any():
            return image, covered
        weight = mask.astype(np.float32)[..., None] * np.float32(1 / 255)
        blended = image + (self.texture.astype(np.float32) - image) * weight
        return blended.astype(np.uint8), covered


def random_cover(
    box: FloatArray, size_wh: tuple[int, int], rng: np.random.Generator, photographs: Photographs
) -> Cover:
    """Something over a part of a person.

    Args:
        box: (4,) xyxy px of the person.
        size_wh: Of the picture.
        rng: All randomness comes from here.
        photographs: What it may show.
    """
    wh = box[2:] - box[:2]
    longer = float(wh.max())
    centre = box[:2] + wh * rng.uniform([0.0, 0.1], [1.0, 1.05])
    kind = rng.random()
    if kind < 0.45:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 10))))
        radii = longer * rng.uniform(0.08, 0.3) * rng.uniform(0.6, 1.0, (len(angles), 1))
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + centre
    elif kind < 0.6:
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * longer * rng.uniform(0.05, 0.28, 2) + centre
    elif kind < 0.8:  # furniture: from somewhere below the waist downwards
        top = box[1] + wh[1] * rng.uniform(0.45, 0.9)
        left, right = box[0] + wh[0] * rng.uniform(-1.0, 0.3), box[2] + wh[0] * rng.uniform(-0.3, 1.0)
        outline = np.array([[left, top], [max(right, left + 5), top], [right, box[3] + wh[1]], [left, box[3] + wh[1]]])
    else:  # a pole, a rail, an arm of something
        direction = from_vector([0, 0, rng.normal(0, 0.3) + (np.pi / 2 if rng.random() < 0.4 else 0)])[:2, 1]
        across = np.array([direction[1], -direction[0]]) * longer * rng.uniform(0.015, 0.08)
        reach = direction * longer * 2
        outline = np.stack(
            [centre - reach - across, centre + reach - across, centre + reach + across, centre - reach + across]
        )
    texture = _texture(size_wh, rng, photographs)
    return Cover(np.asarray(outline, np.float64), rng.normal(0, longer * 0.01, 2), texture)


def _texture(size_wh: tuple[int, int], rng: np.random.Generator, photographs: Photographs) -> ImageArray:
    choice = rng.random()
    if choice < 0.35:
        shade = np.linspace(rng.uniform(0.7, 1.0), 1.0, size_wh[1])[:, None, None]
        plain = random_colour(rng) ** 0.4545 * 255 * shade * np.ones((1, size_wh[0], 1))
        return plain.astype(np.uint8)
    photograph = photographs.pick(rng)
    if choice < 0.75 and photograph is not None:
        return np.asarray(cv2.resize(photograph, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(random_pattern(rng, photograph=None), size_wh), np.uint8)


@dataclass(frozen=True, slots=True)
class Prop:
    """A thing in the room: its mesh, and ``matrices`` (T, 1, 3, 4) of its places."""

    mesh: Mesh
    matrices: FloatArray


def seat_prop(hips: Reals, facing: float, rng: np.random.Generator, photographs: Photographs) -> Prop:
    """A box below the hips (T, 3) that reaches the ground, turned to ``facing`` radians."""
    height = max(float(hips[:, 1].min()) - rng.uniform(0.08, 0.14), 0.05)
    size = np.array([rng.uniform(0.35, 1.2), height, rng.uniform(0.3, 0.5)], np.float32)
    place = hips.mean(axis=0)
    behind = about_y(facing) @ np.array([0.0, 0.0, -rng.uniform(0.0, 0.12)])
    middle = np.array([place[0], height / 2, place[2]]) + behind
    return Prop(box_mesh(size, random_textures(rng, photographs)), _still(about_y(facing), middle, len(hips)))


def table_prop(towards: Reals, rng: np.random.Generator, count: int, photographs: Photographs) -> Prop:
    """A box on the ground; ``towards`` (3,) is where the camera sees it before a person standing at the origin."""
    direction = towards * [1.0, 0.0, 1.0]
    direction /= max(float(np.linalg.norm(direction)), 1e-6)
    size = np.array([rng.uniform(0.3, 1.6), rng.uniform(0.3, 1.1), rng.uniform(0.1, 0.6)], np.float32)
    facing = float(np.arctan2(direction[0], direction[2]) + rng.normal(0, 0.5))
    aside = np.array([direction[2], 0.0, -direction[0]]) * rng.normal(0, 0.4)
    middle = direction * rng.uniform(0.45, 0.9) + aside + [0.0, float(size[1]) / 2, 0.0]
    return Prop(box_mesh(size, random_textures(rng, photographs)), _still(about_y(facing), middle, count))


def held_prop(
    hand_matrices: FloatArray, wrist: Reals, sign: float, rng: np.random.Generator, photographs: Photographs
) -> Prop:
    """A ball, a bag or a stick in a hand.

    Args:
        hand_matrices: (T, 3, 4) of the bone.
        wrist: (3,) at rest.
        sign: 1 for the left hand, -1 for the right.
        rng: All randomness comes from here.
        photographs: What it may show.
    """
    textures = random_textures(rng, photographs)
    grip = wrist + np.array([sign * 0.09, -0.02, 0.02])
    kind = rng.random()
    if kind < 0.4:
        radius = rng.uniform(0.06, 0.24)
        mesh, grip = ball_mesh(np.full(3, radius, np.float32), textures), grip - np.array([0.0, radius / 2, 0.0])
    elif kind < 0.75:
        mesh = box_mesh(np.array([0.03, 0.03, rng.uniform(0.3, 1.3)], np.float32), textures)
    else:
        size = rng.uniform([0.04, 0.1, 0.1], [0.15, 0.4, 0.4]).astype(np.float32)
        mesh, grip = box_mesh(size, textures), grip - np.array([0.0, float(size[1]) / 2, 0.0])
    local = np.eye(4)
    local[:3, :3], local[:3, 3] = from_vector(rng.normal(0, 0.3, 3)), grip
    return Prop(mesh, (hand_matrices.astype(np.float64) @ local).astype(np.float32)[:, None])


def random_textures(rng: np.random.Generator, photographs: Photographs) -> TextureStack:
    """One texture: plain, a pattern, a photograph."""
    picture = random_pattern(rng, photograph=photographs.pick(rng))
    if rng.random() < 0.5:
        picture = np.full_like(picture, random_colour(rng) ** 0.4545 * 255)
    return stack_textures([opaque(picture)])


def _still(rotation: Reals, place: Reals, count: int) -> FloatArray:
    matrix = np.concatenate([rotation, place[:, None]], axis=1)
    return np.tile(matrix, (count, 1, 1, 1)).astype(np.float32)
