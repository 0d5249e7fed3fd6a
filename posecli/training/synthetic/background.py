"""What lies behind the people: a place on whose ground they stand, a photograph, or clutter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from posecli.records import FloatArray, ImageArray
from posecli.training.synthetic.appearance import random_colour, random_pattern
from posecli.training.synthetic.camera import Camera
from posecli.training.synthetic.compiled import compiled
from posecli.training.synthetic.lighting import Environment
from posecli.training.synthetic.lookups import GAMMA_TABLE, tone
from posecli.training.synthetic.photographs import Photographs

_DOME_HEIGHT_M = 1.5  # of the camera that took the panorama, above the ground
_DOME_RADIUS_M = 12.0
_WORDS = ("EXIT", "42", "open", "SALE", "Nord", "2019", "taxi", "A-7", "cafe", "STOP", "no. 9", "www")


class Backdrop(Protocol):
    """Gives the picture behind the people."""

    @property
    def has_ground(self) -> bool:
        """Whether the plane y = 0 shows, and takes shadows."""
        ...

    def picture(self, camera: Camera) -> ImageArray:
        """(H, W, 3) RGB as this camera sees it, to be drawn on."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """A panorama whose lower half is laid onto the ground, so that feet stand on it."""

    environment: Environment
    exposure: float
    has_ground: bool = True

    def picture(self, camera: Camera) -> ImageArray:
        """See `Backdrop`."""
        out = np.empty((camera.size_wh[1], camera.size_wh[0], 3), np.uint8)
        _draw_panorama(self.environment.panorama, camera.flat, self.exposure, GAMMA_TABLE, out)
        return out


@dataclass(frozen=True, slots=True)
class Wall:
    """A picture that turns with the camera: far away, or seen by a camera that hardly moves.

    ``image`` is what ``taken_by`` sees; cameras that look beyond it see its border continued.
    """

    image: ImageArray
    taken_by: Camera
    has_ground: bool

    def picture(self, camera: Camera) -> ImageArray:
        """See `Backdrop`."""
        warp = camera.homography_from(self.taken_by)
        return np.asarray(
            cv2.warpPerspective(
                self.image, warp, camera.size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            ),
            np.uint8,
        )


def photograph_wall(photograph: ImageArray, camera: Camera, rng: np.random.Generator) -> Wall:
    """Part of a photograph, scaled to fill the camera's picture."""
    width, height = camera.size_wh
    rows, columns = photograph.shape[:2]
    scale = min(rows / height, columns / width) * rng.uniform(0.6, 1.0)
    part_wh = np.maximum((np.array([width, height]) * scale).astype(int), 2)
    left, top = rng.integers(0, np.maximum(np.array([columns, rows]) - part_wh, 0) + 1)
    part = photograph[top : top + part_wh[1], left : left + part_wh[0]]
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    return Wall(np.asarray(cv2.resize(part, (width, height), interpolation=how), np.uint8), camera, has_ground=False)


def clutter_wall(camera: Camera, rng: np.random.Generator, photographs: Photographs) -> Wall:
    """Sharp-edged things of all kinds, or hardly anything."""
    width, height = camera.size_wh
    corners = np.stack([random_colour(rng) ** 0.4545 for _ in range(4)]).reshape(2, 2, 3).astype(np.float32)
    image = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR) * 255
    picture: ImageArray = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    add_things(picture, rng, photographs, count=int(rng.integers(0, 60) if rng.random() < 0.8 else 0))
    if rng.random() < 0.5:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 3.0)), np.uint8)
    return Wall(picture, camera, has_ground=False)


def add_things(image: ImageArray, rng: np.random.Generator, photographs: Photographs, *, count: int) -> None:
    """Draw shapes, words and patterned areas into a picture."""
    height, width = image.shape[:2]
    longer = max(width, height)
    for _ in range(count):
        colour = tuple(float(v) for v in random_colour(rng) ** 0.4545 * 255)
        at = (rng.random(2) * [width, height]).astype(int)
        to = at + (rng.normal(0, longer * rng.choice([0.05, 0.15, 0.4]), 2)).astype(int)
        line_px = int(rng.choice([1, 2, 4, max(longer // 30, 1)]))
        first, second = (int(at[0]), int(at[1])), (int(to[0]), int(to[1]))
        kind = rng.choice(6, p=[0.3, 0.2, 0.15, 0.12, 0.08, 0.15])
        if kind == 0:
            cv2.rectangle(image, first, second, colour, -1 if rng.random() < 0.7 else line_px)
        elif kind == 1:
            cv2.line(image, first, second, colour, line_px, cv2.LINE_AA)
        elif kind == 2:
            corners = at + rng.normal(0, longer * 0.12, (int(rng.integers(3, 8)), 2))
            cv2.fillPoly(image, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        elif kind == 3:
            axes = (np.abs(to - at) // 2 + 1).tolist()
            cv2.ellipse(image, first, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        elif kind == 4:
            word = _WORDS[int(rng.integers(len(_WORDS)))]
            cv2.putText(image, word, first, int(rng.integers(0, 6)), rng.uniform(0.3, 2), colour, line_px, cv2.LINE_AA)
        else:
            _paste_pattern(image, first, second, rng, photographs)


def _paste_pattern(
    image: ImageArray,
    first: tuple[int, int],
    second: tuple[int, int],
    rng: np.random.Generator,
    photographs: Photographs,
) -> None:
    height, width = image.shape[:2]
    (x0, x1), (y0, y1) = (sorted((a, b)) for a, b in zip(first, second, strict=True))
    x0, x1, y0, y1 = max(x0, 0), min(x1, width), max(y0, 0), min(y1, height)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    pattern = random_pattern(rng, photograph=photographs.pick(rng) if rng.random() < 0.3 else None)
    image[y0:y1, x0:x1] = cv2.resize(pattern, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)


@compiled
def _draw_panorama(
    panorama: FloatArray, camera: FloatArray, exposure: float, table: FloatArray, out: ImageArray
) -> None:
    r, focal = camera[:9], camera[12]
    for row in range(out.shape[0]):
        b = (row - camera[14]) / focal
        for column in range(out.shape[1]):
            a = (column - camera[13]) / focal
            dx, dy, dz = r[0] * a + r[3] * b + r[6], r[1] * a + r[4] * b + r[7], r[2] * a + r[5] * b + r[8]
            length = math.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx / length, dy / length, dz / length
            if dy < -1e-4:
                t = -camera[10] / dy
                x, z = camera[9] + dx * t, camera[11] + dz * t
                far = math.sqrt(x * x + z * z) / _DOME_RADIUS_M
                if far < 1:
                    part = min(max((far - 0.6) / 0.4, 0.0), 1.0)
                    part = part * part * (3 - 2 * part)
                    length = math.sqrt(x * x + z * z + _DOME_HEIGHT_M * _DOME_HEIGHT_M)
                    dx = x / length * (1 - part) + dx * part
                    dy = -_DOME_HEIGHT_M / length * (1 - part) + dy * part
                    dz = z / length * (1 - part) + dz * part
            _look_up(panorama, dx, dy, dz, exposure, table, out[row, column])


@compiled
def _look_up(
    panorama: FloatArray, dx: float, dy: float, dz: float, exposure: float, table: FloatArray, out: ImageArray
) -> None:
    height, width = panorama.shape[:2]
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    u = (math.atan2(dx, -dz) * 0.15915494 + 0.5) * width - 0.5
    v = math.acos(min(max(dy / length, -1.0), 1.0)) * 0.31830989 * height - 0.5
    column, row = math.floor(u), math.floor(v)
    fx, fy = u - column, v - row
    left, right = column % width, (column + 1) % width
    top, bottom = min(max(row, 0), height - 1), min(max(row + 1, 0), height - 1)
    for c in range(3):
        upper = panorama[top, left, c] * (1 - fx) + panorama[top, right, c] * fx
        lower = panorama[bottom, left, c] * (1 - fx) + panorama[bottom, right, c] * fx
        out[c] = tone((upper * (1 - fy) + lower * fy) * exposure, table)
