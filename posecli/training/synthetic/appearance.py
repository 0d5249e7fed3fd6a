"""Clothes, hair and skin: colours, patterns, and bulk."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from posecli.records import FloatArray, ImageArray
from posecli.training.synthetic.avatar import Avatar
from posecli.training.synthetic.mesh import Mesh
from posecli.training.synthetic.rotations import Reals
from posecli.training.synthetic.shading import Paint
from posecli.training.synthetic.textures import TextureStack, opaque, stack_textures

_PATTERN_PX = 128
_MAX_BULK_M = 0.045
_GREYS = (0.02, 0.04, 0.1, 0.25, 0.5, 0.8)
_USUAL = ((0.02, 0.04, 0.12), (0.05, 0.1, 0.25), (0.25, 0.18, 0.1), (0.35, 0.28, 0.18), (0.1, 0.12, 0.05))
_HAIR = (
    (0.01, 0.008, 0.006),
    (0.05, 0.03, 0.02),
    (0.15, 0.09, 0.05),
    (0.45, 0.33, 0.18),
    (0.3, 0.29, 0.28),
    (0.12, 0.04, 0.02),
)
_PATTERNS = ("stripes", "plaid", "dots", "clouds", "camouflage", "photograph")
_PATTERN_SHARES = (0.25, 0.2, 0.1, 0.12, 0.1, 0.23)
WHITE: TextureStack = stack_textures([np.full((4, 4, 4), 255, np.uint8)])


@dataclass(frozen=True, slots=True)
class Look:
    """``paint`` for the shading loop; and how far cloth stands off the body above and below the waist, metres, in ``waves`` (3,)."""

    paint: Paint
    waist: float
    bulk_above: float
    bulk_below: float
    waves: Reals
    phase: float

    def rest(self, mesh: Mesh) -> FloatArray:
        """(V, 3) vertices of a mesh of the avatar, at rest, in these clothes."""
        if not self.bulk_above and not self.bulk_below:
            return mesh.vertices
        above = 1 / (1 + np.exp(-(mesh.vertices[:, 1] - self.waist) / 0.03))
        bulk = np.minimum(self.bulk_above * above + self.bulk_below * (1 - above), _MAX_BULK_M)
        wave = 1 + 0.25 * np.sin(mesh.vertices @ self.waves + self.phase)
        return np.asarray(mesh.vertices + mesh.normals * (mesh.clothing * bulk * wave)[:, None], np.float32)


def random_look(avatar: Avatar, rng: np.random.Generator, *, photograph: ImageArray | None) -> Look:
    """Dress an avatar.

    Args:
        avatar: Whom.
        rng: All randomness comes from here.
        photograph: (H, W, 3), for cloth printed with it.
    """
    num_parts = len(avatar.mesh.part_modes)
    above, below = np.ones((num_parts, 3), np.float32), np.ones((num_parts, 3), np.float32)
    styles = np.zeros((num_parts, 4), np.float32)
    kind = rng.choice(3, p=[0.3, 0.32, 0.38])  # as it is, plain colours, pattern
    above[0], below[0] = random_colour(rng), random_colour(rng)
    waist = avatar.rig.joints[0, 1] * rng.uniform(0.98, 1.1)
    if rng.random() < 0.12:
        below[0] = above[0]  # an overall, a tracksuit
    styles[0] = [float(kind > 0), float(kind == 2), rng.uniform(0.8, 6.0), waist]
    if avatar.hair_part >= 0:
        hair = np.array(_HAIR[rng.integers(len(_HAIR))]) * rng.uniform(0.7, 1.3)
        above[avatar.hair_part] = below[avatar.hair_part] = hair
        styles[avatar.hair_part] = [float(rng.random() < 0.6), 0, 1, 0]
    pattern = stack_textures([opaque(random_pattern(rng, photograph=photograph))]) if kind == 2 else WHITE
    skin = np.clip(rng.normal(1, 0.08) * rng.normal(1, 0.03, 3), 0.65, 1.25).astype(np.float32)
    has_bulk = rng.random() < 0.5
    above_m, below_m = rng.gamma(1.5, 0.008), rng.gamma(1.5, 0.007)
    return Look(
        Paint(above, below, styles, pattern, skin),
        waist=float(avatar.rig.joints[0, 1]),
        bulk_above=above_m * has_bulk,
        bulk_below=below_m * has_bulk,
        waves=rng.normal(0, 14, 3),
        phase=rng.uniform(0, 6.28),
    )


def random_colour(rng: np.random.Generator) -> Reals:
    """(3,) linear: half of them greys, as clothes are."""
    choice = rng.random()
    if choice < 0.5:
        colour = rng.choice(_GREYS) * rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, 3)
    elif choice < 0.7:
        colour = np.array(_USUAL[rng.integers(len(_USUAL))]) * rng.uniform(0.7, 1.5)
    else:
        hsv = np.array([[[rng.uniform(0, 360), rng.uniform(0.4, 1), rng.uniform(0.15, 0.9)]]], np.float32)
        colour = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float64) ** 2.2
    return np.clip(colour, 0.01, 0.9)


def random_pattern(rng: np.random.Generator, *, photograph: ImageArray | None) -> ImageArray:
    """(128, 128, 3): a piece of cloth, or of anything else with a texture."""
    kind = str(rng.choice(_PATTERNS, p=_PATTERN_SHARES))
    if kind == "photograph" and photograph is not None:
        return _piece(photograph, rng)
    y, x = np.mgrid[:_PATTERN_PX, :_PATTERN_PX] / _PATTERN_PX
    if kind == "stripes":
        part = ((x if rng.random() < 0.5 else y) * rng.integers(2, 12)) % 1 < rng.uniform(0.2, 0.8)
    elif kind == "plaid":
        count = rng.integers(2, 8)
        part = ((x * count) % 1 < 0.4) * 0.5 + ((y * count) % 1 < 0.4) * 0.5
    elif kind == "dots":
        count = rng.integers(3, 9)
        part = np.hypot((x * count) % 1 - 0.5, (y * count) % 1 - 0.5) < rng.uniform(0.15, 0.4)
    else:
        side = int(rng.integers(4, 40))
        noise = rng.random((side, side)).astype(np.float32)
        part = cv2.resize(noise, (_PATTERN_PX, _PATTERN_PX), interpolation=cv2.INTER_CUBIC)
        part = part > 0.5 if kind == "camouflage" else part
    weight = np.asarray(part, np.float64)[..., None]
    first, second = rng.uniform(0.15, 1, 3), rng.uniform(0.15, 1, 3)
    return np.asarray(np.clip(first * weight + second * (1 - weight), 0, 1) * 255, np.uint8)


def _piece(photograph: ImageArray, rng: np.random.Generator) -> ImageArray:
    height, width = photograph.shape[:2]
    side = int(min(height, width) * rng.uniform(0.2, 0.8))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    part = photograph[top : top + side, left : left + side]
    return np.asarray(cv2.resize(part, (_PATTERN_PX, _PATTERN_PX), interpolation=cv2.INTER_AREA), np.uint8)
