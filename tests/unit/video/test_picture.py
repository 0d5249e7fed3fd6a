"""Pixels come out upright, 8 bit and in the right colours."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from posecli.video.picture import Turn
from posecli.video.source import open_source, probe
from posecli.video.tonemap import tone_map

BT709, BT601, BT2020 = 1, 6, 9
PQ, HLG = 16, 18
TV = 1


def _first(path: Path):
    with open_source(path) as source:
        return next(source.frames()), source


def _corner_picture(_: int) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right; 64x48."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:] = (255, 0, 0), (0, 255, 0)
    picture[24:, :32], picture[24:, 32:] = (0, 0, 255), (255, 255, 255)
    return picture


def _corners(image: np.ndarray) -> str:
    """The colours clockwise from the top left."""
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    height, width = image.shape[:2]
    places = (
        (height // 4, width // 4),
        (height // 4, -width // 4),
        (-height // 4, -width // 4),
        (-height // 4, width // 4),
    )
    return "".join(names[tuple((image[y, x] > 128).astype(int).tolist())] for y, x in places)


@pytest.mark.parametrize(
    ("rotation_deg", "is_mirrored", "corners", "size_wh"),
    [
        (0, False, "rgwb", (64, 48)),
        (90, False, "gwbr", (48, 64)),  # counter-clockwise: the right edge goes up
        (180, False, "wbrg", (64, 48)),
        (270, False, "brgw", (48, 64)),
        (0, True, "grbw", (64, 48)),
        (90, True, "wgrb", (48, 64)),  # mirrored after the turn
    ],
)
def test_display_rotation_is_applied(tmp_path, make_video, rotation_deg, is_mirrored, corners, size_wh):
    path = make_video(
        tmp_path / "v.mp4", 2, picture=_corner_picture, rotation_deg=rotation_deg, is_mirrored=is_mirrored
    )
    frame, source = _first(path)
    assert _corners(frame.image) == corners
    assert (frame.image.shape[1], frame.image.shape[0]) == size_wh
    assert frame.image.flags.c_contiguous
    info = probe(path)
    assert (info.width_px, info.height_px) == size_wh
    # Ours mirrors first, so the turn goes the other way round.
    assert info.rotation_deg == (-rotation_deg if is_mirrored else rotation_deg) % 360
    assert source.warnings == []


def test_a_turn_knows_its_size():
    image = np.zeros((4, 6, 3), np.uint8)
    for degrees in (0, 90, 180, 270):
        turn = Turn(degrees)
        assert turn.apply(image).shape[1::-1] == turn.size_wh(6, 4)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv420p10le", "yuv444p"])
def test_ten_bits_and_other_chroma_come_as_eight_bit_rgb(tmp_path, make_video, pixel_format):
    path = make_video(tmp_path / "v.mp4", 2, picture=_corner_picture, pixel_format=pixel_format)
    frame, _ = _first(path)
    assert frame.image.dtype == np.uint8
    assert _corners(frame.image) == "rgwb"
    assert probe(path).pixel_format == pixel_format


def _yuv(y: int, u: int, v: int, size=(64, 48), scale: int = 1):
    """A flat picture given by its stored values."""

    def make(_: int) -> av.VideoFrame:
        width, height = size
        dtype, pixel_format = (np.uint8, "yuv420p") if scale == 1 else (np.uint16, "yuv420p10le")
        frame = av.VideoFrame(width, height, pixel_format)
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(np.full(plane.buffer_size // np.dtype(dtype).itemsize, value * scale, dtype).tobytes())
        return frame

    return make


# Stored values of pure red and what each matrix makes of it.
@pytest.mark.parametrize(
    ("matrix", "size", "stored"),
    [
        (BT709, (64, 48), (63, 102, 240)),
        (BT601, (64, 48), (81, 90, 240)),
        (None, (64, 48), (81, 90, 240)),  # untagged and small: BT.601
        (None, (1280, 720), (63, 102, 240)),  # untagged and large: BT.709
    ],
)
def test_colours_follow_the_matrix(tmp_path, make_video, matrix, size, stored):
    colour = {"colorspace": matrix, "color_range": TV} if matrix else None
    y, u, v = stored
    path = make_video(tmp_path / "v.mp4", 1, size=size, picture=_yuv(y, u, v, size=size), colour=colour)
    frame, _ = _first(path)
    assert frame.image[20, 20].astype(int) == pytest.approx([255, 0, 0], abs=4)


@pytest.mark.parametrize("level", [16, 126, 235])
def test_studio_range_becomes_full_range(tmp_path, make_video, level):
    frame, _ = _first(make_video(tmp_path / "v.mp4", 1, picture=_yuv(level, 128, 128)))
    assert frame.image[20, 20].astype(int) == pytest.approx([(level - 16) * 255 / 219] * 3, abs=2)


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "smpte2084"), (HLG, "arib_std_b67")])
def test_hdr_is_tone_mapped_and_told(tmp_path, make_video, transfer, name):
    colour = {"colorspace": BT2020, "color_primaries": 9, "color_trc": transfer, "color_range": TV}
    path = make_video(
        tmp_path / "v.mp4", 2, picture=_yuv(140, 128, 128, scale=4), pixel_format="yuv420p10le", colour=colour
    )
    frame, source = _first(path)
    assert source.info.is_hdr
    assert source.info.colour == f"bt2020/{name}/bt2020nc/tv"
    assert source.warnings == [f"HDR video ({source.info.colour}): tone-mapped to 8-bit BT.709"]
    # Grey stays grey; about PQ 0.57 (230 cd/m2) is bright, HLG 0.57 (120 cd/m2) is medium.
    red, green, blue = frame.image[20, 20].astype(int)
    assert max(red, green, blue) - min(red, green, blue) <= 3
    assert 130 < green < 235


def test_tone_mapping_ascends_from_black_to_white():
    ramp = np.linspace(0, 65535, 500).astype(np.uint16)[None, :, None].repeat(3, axis=2)
    for transfer in ("pq", "hlg"):
        mapped = tone_map(ramp, transfer)[0, :, 1].astype(int)
        assert mapped[0] == 0
        assert mapped[-1] == 255
        assert (np.diff(mapped) >= 0).all()


def test_tone_mapping_keeps_ordinary_light():
    """100 cd/m2 in PQ is half of reference white: below the shoulder, so it must come out as BT.709 encodes 0.4926."""
    signal = np.full((1, 1, 3), round(0.508078 * 65535), np.uint16)
    expected = (1.099 * (100 / 203) ** 0.45 - 0.099) * 255
    assert tone_map(signal, "pq")[0, 0].astype(float) == pytest.approx([expected] * 3, abs=2)


def test_pixels_that_are_not_square_are_told(tmp_path, make_video):
    path = tmp_path / "v.mp4"
    make_video(path, 2, options={"x264-params": "sar=4/3"})
    _, source = _first(path)
    assert source.warnings == ["pixels are not square (4/3): coordinates are those of the stored picture"]


def test_pictures_of_another_size_are_scaled_and_told(tmp_path, make_video):
    raw = b"".join(
        make_video(tmp_path / f"{w}.h264", 3, size=(w, h), picture=_yuv(126, 128, 128, size=(w, h))).read_bytes()
        for w, h in ((64, 48), (96, 72))
    )
    path = tmp_path / "joined.h264"
    path.write_bytes(raw)
    with open_source(path) as source:
        assert [f.image.shape for f in source.frames()] == [(48, 64, 3)] * 6
    assert "3 frames of another size: scaled to that of the first" in source.warnings
