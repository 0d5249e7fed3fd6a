"""Damage costs pictures, never numbers: one frame for every packet, whatever the decoder makes of it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from posecli.errors import VideoError
from posecli.video.source import open_source

NUM_FRAMES = 60


def _damage(path: Path, packet_number: int) -> Path:
    """Overwrite the beginning of one packet, so that its picture cannot be decoded."""
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][packet_number]
        start, size, pts = packet.pos, packet.size, packet.pts
        assert start is not None
        assert pts is not None
    data = bytearray(path.read_bytes())
    data[start : start + size] = np.random.default_rng(3).bytes(size)
    broken = path.with_name(f"broken_{packet_number}{path.suffix}")
    broken.write_bytes(data)
    return broken


def _read(path: Path, **options):
    with open_source(path, **options) as source:
        frames = list(source.frames())
    return frames, source.warnings


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("packet_number", [0, 13, 30, NUM_FRAMES - 1])
def test_a_broken_packet_shifts_nothing(tmp_path, make_video, frame_number, codec, packet_number, num_threads):
    good = make_video(tmp_path / "good.mp4", NUM_FRAMES, codec=codec)
    whole, _ = _read(good)
    frames, warnings = _read(_damage(good, packet_number), num_threads=num_threads)
    assert [(f.index, f.pts, f.time_s) for f in frames] == [(f.index, f.pts, f.time_s) for f in whole]
    corrupt = [f.index for f in frames if f.status == "corrupt"]
    # The picture itself, and at most what is decoded from it before the next key frame.
    assert 1 <= len(corrupt) <= 8
    assert any(f"{len(corrupt)} corrupt frames" in w for w in warnings)
    # Away from the damage every number is in its place.
    near = range(min(corrupt) - 8, max(corrupt) + 9)
    assert all(frame_number(f.image) == f.index for f in frames if f.index not in near)


def test_the_picture_before_stands_in(tmp_path, make_video):
    frames, _ = _read(_damage(make_video(tmp_path / "good.mp4", NUM_FRAMES, b_frames=0), 20))
    assert frames[20].status == "corrupt"
    assert np.array_equal(frames[20].image, frames[19].image)
    assert frames[20].image is not frames[19].image


def test_black_stands_in_at_the_beginning(tmp_path, make_video):
    path = _damage(make_video(tmp_path / "good.mp4", NUM_FRAMES, b_frames=0), 0)
    frames, _ = _read(path)
    assert frames[0].status == "corrupt"
    assert frames[0].image.max() == 0
    assert frames[0].image.shape == frames[-1].image.shape


def test_threads_lose_no_good_picture_at_a_broken_end(tmp_path, make_video):
    """With frame threads PyAV drops the good pictures behind an error in the last packets; a second look finds them."""
    path = _damage(make_video(tmp_path / "good.mp4", NUM_FRAMES), NUM_FRAMES - 1)
    one, _ = _read(path, num_threads=1)
    two, _ = _read(path, num_threads=2)
    assert [f.status for f in two] == [f.status for f in one]
    assert sum(f.status == "corrupt" for f in two) == 1
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))


def test_a_range_of_a_damaged_file_keeps_its_numbers(tmp_path, make_video):
    path = _damage(make_video(tmp_path / "good.mp4", NUM_FRAMES), 30)
    whole, _ = _read(path)
    found, _ = _read(path, start_s=1.0, end_s=1.6)
    assert [(f.index, f.status) for f in found] == [(f.index, f.status) for f in whole if 1.0 <= f.time_s < 1.6]


def test_a_truncated_file_gives_what_there_is_and_says_so(tmp_path, make_video, frame_number):
    good = make_video(tmp_path / "good.mp4", NUM_FRAMES, muxer_options={"movflags": "faststart"}, audio_codec="aac")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size * 6 // 10])
    frames, warnings = _read(cut)
    assert 10 < len(frames) < NUM_FRAMES
    assert [frame_number(f.image) for f in frames[:-3]] == list(range(len(frames) - 3))
    assert any("file breaks off" in w and f"of the {NUM_FRAMES} frames" in w for w in warnings)


def test_a_truncated_matroska_file_says_so(tmp_path, make_video):
    good = make_video(tmp_path / "good.mkv", 100)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    frames, warnings = _read(cut)
    assert 10 < len(frames) < 75
    assert any("file breaks off" in w for w in warnings)


def test_a_recording_without_its_index_is_refused_with_a_reason(tmp_path, make_video):
    good = make_video(tmp_path / "good.mp4", NUM_FRAMES)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    with pytest.raises(VideoError, match="interrupted recording") as error:
        open_source(cut)
    assert str(cut) in error.value.message


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"this is no video\n" * 50, "it is a text file"),
        ("gr\u00f6\u00dfe \u2192 ".encode() * 100, "it is a text file"),
        (b"\xef\xbb\xbf<!DOCTYPE html>\n<html><body>404", "it is a web page"),
        (b'{"frames": []}', "it is a text file"),
        (b"PK\x03\x04" + bytes(2000), "it is a ZIP archive"),
        (b"%PDF-1.7\n" + bytes(2000), "it is a PDF document"),
        (b"\x1f\x8b\x08" + bytes(2000), "it is a gzip archive"),
        (bytes(5000), "it begins with nothing but zeros"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", "interrupted recording"),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_what_is_no_video_is_called_by_its_name(tmp_path, data, hint, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with pytest.raises(VideoError, match="cannot be read as a video") as error:
        open_source(path)
    assert hint in (error.value.hint or "")


def test_a_file_of_nothing_but_damage_is_refused(tmp_path, make_video):
    path = make_video(tmp_path / "good.mp4", 6, b_frames=0)
    for number in range(6):
        path = _damage(path, number)
    with pytest.raises(VideoError, match="not one picture can be decoded"):
        open_source(path)


def test_good_files_have_no_warnings(tmp_path, make_video):
    assert _read(make_video(tmp_path / "good.mp4", NUM_FRAMES))[1] == []
