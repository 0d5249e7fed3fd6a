"""Labelled pictures from disk, as their labels see them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from posecli.errors import FormatError, VideoError
from posecli.formats.ground_truth import LabelledImage
from posecli.records import ImageArray


def read_picture(images_dir: Path, image: LabelledImage) -> ImageArray:
    """(H, W, 3) uint8 RGB of a labelled picture; EXIF orientation is not applied, labels refer to the stored pixels.

    Raises:
        VideoError: The file is missing or no picture.
        FormatError: Its size is not the one its labels state.
    """
    path = images_dir / image.file_name
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise VideoError(
            f"{path}: cannot be read: {error.strerror or error}", hint="check the images folder"
        ) from error
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if len(data) else None
    if picture is None:
        raise VideoError(f"{path}: not a picture that can be decoded")
    height, width = picture.shape[:2]
    if (width, height) != (image.width_px, image.height_px):
        raise FormatError(f"{path}: {width}x{height} px, its labels say {image.width_px}x{image.height_px}")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
