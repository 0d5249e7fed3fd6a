"""Folders of images and single images behave like videos without a clock."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecli.errors import VideoError
from posecli.video.source import open_source, probe


def _write(path: Path, value: int, size=(20, 10), suffix=".png") -> Path:
    image = np.full((size[1], size[0], 3), value, np.uint8)
    image[..., 0] = 0  # blue, to cv2
    path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    return path


def test_a_folder_is_a_sequence_in_natural_order(tmp_path):
    for number in (10, 2, 1):
        _write(tmp_path / f"img{number}.png", number)
    (tmp_path / "notes.txt").write_text("x")
    _write(tmp_path / ".hidden.png", 99)
    with open_source(tmp_path, image_fps=Fraction(4)) as source:
        frames = list(source.frames())
    assert [int(f.image[0, 0, 0]) for f in frames] == [1, 2, 10]
    assert [(f.index, f.pts, f.time_s) for f in frames] == [(0, 0, 0.0), (1, 1, 0.25), (2, 2, 0.5)]
    info = source.info
    assert (info.fps, info.time_base, info.num_frames_from_header, info.duration_s) == (
        Fraction(4),
        Fraction(1, 4),
        3,
        0.75,
    )
    assert (source.info.width_px, source.info.height_px) == (20, 10)
    assert source.warnings == []


def test_images_are_rgb(tmp_path):
    with open_source(_write(tmp_path / "é.png", 200)) as source:
        (frame,) = source.frames()
    assert frame.image[3, 3].tolist() == [200, 200, 0]
    assert (frame.index, frame.time_s, frame.status) == (0, 0.0, "ok")


def test_a_range_keeps_the_numbers(tmp_path):
    for number in range(6):
        _write(tmp_path / f"{number}.png", number)
    with open_source(tmp_path, start_s=0.5, end_s=1.0, image_fps=Fraction(4)) as source:
        assert [f.index for f in source.frames()] == [2, 3]


def test_images_of_different_sizes_are_refused_by_name(tmp_path):
    _write(tmp_path / "a.png", 1)
    odd = _write(tmp_path / "b.png", 2, size=(21, 10))
    with (
        open_source(tmp_path) as source,
        pytest.raises(VideoError, match="is 21x10, the images before are 20x10") as error,
    ):
        list(source.frames())
    assert str(odd) in error.value.message


def test_an_unreadable_image_is_a_corrupt_frame(tmp_path):
    _write(tmp_path / "0.png", 7)
    (tmp_path / "1.png").write_bytes(b"nothing")
    (tmp_path / "2.png").write_bytes(b"")
    _write(tmp_path / "3.png", 9)
    with open_source(tmp_path) as source:
        frames = list(source.frames())
    assert [(f.index, f.status, int(f.image[0, 0, 0])) for f in frames] == [
        (0, "ok", 7), (1, "corrupt", 7), (2, "corrupt", 7), (3, "ok", 9),
    ]  # fmt: skip
    assert len(source.warnings) == 2
    assert str(tmp_path / "1.png") in source.warnings[0]


def test_exif_orientation_is_applied(tmp_path):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16] = 255  # bright on the left
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    # TIFF header, one entry: orientation (0x0112) 6, "turn clockwise".
    tiff = b"II*\x00\x08\x00\x00\x00" + struct.pack("<HHHIHH", 1, 0x0112, 3, 1, 6, 0) + b"\x00" * 4
    exif = b"Exif\x00\x00" + tiff
    path = tmp_path / "phone.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    with open_source(path) as source:
        (frame,) = source.frames()
    assert frame.image.shape == (32, 16, 3)
    assert frame.image[4].mean() > 200 > 50 > frame.image[-4].mean()
    info = probe(path)
    assert (info.width_px, info.height_px) == (16, 32)
