"""A camera found from points of the world and where they are in the picture.

Human3.6M as VideoPose3D publishes it has exact pairs of both but not the cameras, which are needed to know where right, down and
forward are. From thousands of points all over the room a camera with lens distortion is found to a hundredth of a degree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from posecli.errors import FormatError
from posecli.records import FloatArray

MAX_MEDIAN_PX = 2.0
"""If points come out further from where they are, the two files do not belong together."""

_MAX_POINTS = 4000
_LEAST_POINTS = 32
_FOCAL_WIDTHS = 1.15  # where the search begins: Human3.6M's cameras have about 1,145 px at 1,000 px of width


def camera_axes(
    pairs: Sequence[tuple[FloatArray, FloatArray]], size_wh: tuple[int, int], name: str
) -> list[FloatArray]:
    """Turn points of the world to the axes of the camera that saw them.

    Args:
        pairs: Recordings of one camera: (T, J, 3) mm in the world, and (T, J, 2) px with at least T frames.
        size_wh: Of the picture, px.
        name: What it is, for messages.

    Returns:
        For each recording (T, J, 3) mm: x right, y down, z forward, the camera at the origin.

    Raises:
        FormatError: There is no camera that sees the points where they are said to be.
    """
    import cv2

    world = np.concatenate([points.reshape(-1, 3) for points, _ in pairs]).astype(np.float64)
    seen = np.concatenate([view[: len(points)].reshape(-1, 2) for points, view in pairs]).astype(np.float64)
    known = np.flatnonzero(np.isfinite(world).all(axis=1) & np.isfinite(seen).all(axis=1))
    if len(known) < _LEAST_POINTS:
        raise FormatError(f"{name}: {len(known)} points are too few to find the camera")
    chosen = known[:: max(len(known) // _MAX_POINTS, 1)]
    focal = _FOCAL_WIDTHS * size_wh[0]
    guess = np.array([[focal, 0.0, (size_wh[0] - 1) / 2], [0.0, focal, (size_wh[1] - 1) / 2], [0.0, 0.0, 1.0]])
    # about their middle, in metres: well conditioned
    middle = world[chosen].mean(axis=0)
    near = ((world[chosen] - middle) / 1000.0).astype(np.float32)
    pixels = seen[chosen].astype(np.float32)
    try:
        _, matrix, lens, turns, shifts = cv2.calibrateCamera(
            [near], [pixels], size_wh, guess, np.zeros(5), flags=cv2.CALIB_USE_INTRINSIC_GUESS
        )
        again = cv2.projectPoints(near, turns[0], shifts[0], matrix, lens)[0].reshape(-1, 2)
        rotation, shift = cv2.Rodrigues(turns[0])[0], np.asarray(shifts[0]).reshape(3) * 1000.0
    except cv2.error as error:
        raise FormatError(f"{name}: no camera sees the points where they are said to be") from error
    median = float(np.median(np.linalg.norm(again - pixels, axis=1)))
    if not median <= MAX_MEDIAN_PX:
        raise FormatError(
            f"{name}: no camera sees the points where they are said to be, half of them are {median:.1f} px off or more",
            hint="the 2D file must be the ground truth of the 3D file",
        )
    return [((points - middle) @ rotation.T + shift).astype(np.float32) for points, _ in pairs]
