"""Light from a panorama: soft light as nine spherical-harmonic coefficients, and the brightest part as a sun."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from posecli.errors import FormatError
from posecli.records import FloatArray
from posecli.training.synthetic.rotations import Reals

_BRIGHTEST = 0.996  # tone-compressed a / (1 + a): 1 would be infinitely bright
_LIGHT_WIDTH = 256
_SUN_PERCENTILE = 99.7
_MIN_SUN_HEIGHT = 0.25  # sine of its elevation: lower suns cast shadows longer than the picture
# Basis normalisation squared times the cosine lobe's transfer, for 1, y, z, x, xy, yz, 3zz - 1, xz, xx - yy.
_NORMS = np.array([0.282095, *[0.488603] * 3, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274])
_TRANSFER = np.array([np.pi, *[2.094395] * 3, *[0.785398] * 5])


@dataclass(frozen=True, slots=True)
class Environment:
    """A place.

    Attributes:
        name: Of its file.
        panorama: (H, W, 3) linear light, all directions; the middle column looks to -z.
        irradiance: (9, 3) coefficients of the light on a surface, by its normal.
        sun_direction: (3,) towards the sun.
        sun_colour: (3,) zero where nothing stands out.
        exposure: Makes the surroundings of the horizon middle grey.
    """

    name: str
    panorama: FloatArray
    irradiance: FloatArray
    sun_direction: Reals
    sun_colour: FloatArray
    exposure: float


def read_environment(path: Path) -> Environment:
    """Read an equirectangular picture, tone-compressed as a / (1 + a).

    Raises:
        FormatError: The file is no picture.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FormatError(f"{path}: cannot be read as an image")
    compressed = np.minimum(image.astype(np.float32) / 255, np.float32(_BRIGHTEST))
    panorama = np.ascontiguousarray(compressed / (1 - compressed), np.float32)
    small = np.asarray(
        cv2.resize(panorama, (_LIGHT_WIDTH, _LIGHT_WIDTH // 2), interpolation=cv2.INTER_AREA), np.float64
    )
    x, y, z, solid_angle = _directions(_LIGHT_WIDTH)
    brightness = small.mean(axis=2)
    threshold = max(float(np.percentile(brightness, _SUN_PERCENTILE)), float(np.median(brightness)) * 8)
    is_sun = (brightness > threshold) & (y > 0.05)
    direction, colour = np.array([0.4, 0.8, 0.4]), np.zeros(3)
    if is_sun.sum() > 3:
        weight = (solid_angle * brightness)[is_sun]
        direction = np.array([(axis[is_sun] * weight).sum() for axis in (x, y, z)])
        colour = (small * solid_angle[..., None])[is_sun].sum(axis=0) / np.pi
        small[is_sun] = threshold
    horizon = brightness[int(len(small) * 0.35) : int(len(small) * 0.85)]
    return Environment(
        name=path.stem,
        panorama=panorama,
        irradiance=_irradiance(small, x, y, z, solid_angle),
        sun_direction=_raised(direction),
        sun_colour=colour.astype(np.float32),
        exposure=0.30 / max(float(np.percentile(horizon, 62)), 1e-4),
    )


def _directions(width: int) -> tuple[Reals, Reals, Reals, Reals]:
    """x, y, z of every pixel of a panorama, and the solid angle it covers."""
    height = width // 2
    polar = (np.arange(height)[:, None] + 0.5) / height * np.pi
    azimuth = ((np.arange(width)[None] + 0.5) / width - 0.5) * 2 * np.pi
    x, y, z = np.sin(polar) * np.sin(azimuth), np.cos(polar) + 0 * azimuth, -np.sin(polar) * np.cos(azimuth)
    return x, y, z, np.sin(polar) * (np.pi / height) * (2 * np.pi / width) + 0 * azimuth


def _irradiance(light: Reals, x: Reals, y: Reals, z: Reals, solid_angle: Reals) -> FloatArray:
    basis = [np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y]
    sums = np.stack([(light * (b * solid_angle)[..., None]).sum(axis=(0, 1)) for b in basis])
    return np.asarray(sums * (_NORMS**2 * _TRANSFER / np.pi)[:, None], np.float32)


def _raised(direction: Reals) -> Reals:
    unit = direction / np.linalg.norm(direction)
    level = unit[[0, 2]] / max(float(np.linalg.norm(unit[[0, 2]])), 1e-9)
    height = max(float(unit[1]), _MIN_SUN_HEIGHT)
    side = np.sqrt(max(1 - height * height, 0.0))
    return np.array([level[0] * side, height, level[1] * side])
