"""Every picture gives one frame, with its number, its time, and nothing shifted."""

from __future__ import annotations

import socket
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from posecli.errors import ConfigError, VideoError
from posecli.video.source import open_source, probe


def _read(path: Path, **options):
    with open_source(path, **options) as source:
        frames = list(source.frames())
    return frames, source.warnings


CONTAINERS = [
    ("h264.mp4", "libx264", {}),
    ("h264.mkv", "libx264", {}),
    ("h264.ts", "libx264", {}),
    ("h264.avi", "libx264", {}),
    ("raw.h264", "libx264", {}),
    ("mpeg4.mp4", "mpeg4", {}),
    ("mpeg4.avi", "mpeg4", {}),
    ("mpeg2.ts", "mpeg2video", {}),
    ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
]


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS, ids=[c[0] for c in CONTAINERS])
def test_every_picture_comes_once_and_in_order(tmp_path, make_video, frame_number, name, codec, options):
    path = make_video(tmp_path / name, 40, codec=codec, options=options)
    frames, _ = _read(path)
    assert [frame_number(f.image) for f in frames] == list(range(40))
    assert [f.index for f in frames] == list(range(40))
    assert [f.time_s for f in frames] == pytest.approx([k / 25 for k in range(40)], abs=1e-9)
    assert {f.status for f in frames} == {"ok"}


def test_first_frame_is_at_zero_and_pts_stays_raw(tmp_path, make_video):
    path = make_video(tmp_path / "late.mkv", 5, pts=[1000 + 40 * k for k in range(5)], time_base=Fraction(1, 1000))
    frames, _ = _read(path)
    assert [f.time_s for f in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert [f.pts for f in frames] == [1000, 1040, 1080, 1120, 1160]


def test_ntsc_times_do_not_drift(tmp_path, make_video):
    path = make_video(tmp_path / "ntsc.mp4", 60, fps=Fraction(30000, 1001))
    with open_source(path) as source:
        assert source.info.fps == Fraction(30000, 1001)
        assert [f.time_s for f in source.frames()] == [float(k * Fraction(1001, 30000)) for k in range(60)]


def test_variable_frame_rate_keeps_its_times_and_is_told(tmp_path, make_video):
    pts = [0, 10, 50, 55, 90, 200, 210]
    path = make_video(tmp_path / "vfr.mp4", 7, pts=pts, time_base=Fraction(1, 1000))
    frames, warnings = _read(path)
    assert [f.time_s for f in frames] == pytest.approx([p / 1000 for p in pts], abs=1e-12)
    assert [w.split(":")[0] for w in warnings] == ["variable frame rate"]


def test_missing_timestamps_are_made_up_and_told(tmp_path, make_video):
    frames, warnings = _read(make_video(tmp_path / "raw.h264", 6, fps=50))
    assert [f.time_s for f in frames] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])
    assert all(f.pts is not None for f in frames)
    assert "6 frames without timestamps" in warnings[0]


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS, ids=[c[0] for c in CONTAINERS])
def test_a_range_gives_the_same_frames_as_the_whole(tmp_path, make_video, name, codec, options):
    path = make_video(tmp_path / name, 100, codec=codec, options=options)
    whole, _ = _read(path)
    for start_s, end_s in ((0.36, 0.4), (0.001, 1.0), (2.0, None), (3.43, 9.0), (None, 0.5)):
        wanted = [f for f in whole if (start_s or 0) <= f.time_s < (end_s or 99)]
        found, _ = _read(path, start_s=start_s, end_s=end_s)
        assert [(f.index, f.pts, f.time_s) for f in found] == [(f.index, f.pts, f.time_s) for f in wanted]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "options", [{"x264-params": "open-gop=1:keyint=10"}, {"x264-params": "intra-refresh=1:keyint=10"}]
)
def test_a_range_is_exact_without_clean_key_frames(tmp_path, make_video, options):
    path = make_video(tmp_path / "open.mp4", 80, gop=10, options={**options, "preset": "veryfast"})
    whole, _ = _read(path)
    found, _ = _read(path, start_s=2.0, end_s=2.4)
    assert [f.index for f in found] == list(range(50, 60))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(found, whole[50:60], strict=True))


def test_decoding_begins_at_the_key_frame_before(tmp_path, make_video):
    from posecli.video.start import find_start

    path = make_video(tmp_path / "long.mp4", 200, gop=20)
    start = find_start(path, 6.5)
    assert (start.packet_number, start.first_index) == (160, 160)


def test_a_clock_set_back_in_the_middle_carries_on_whole_or_in_part(tmp_path, make_video):
    late = make_video(tmp_path / "late.ts", 80, gop=10, muxer_options={"output_ts_offset": "500"})
    joined = tmp_path / "joined.ts"
    joined.write_bytes(late.read_bytes() + make_video(tmp_path / "early.ts", 40, gop=10).read_bytes())
    whole, warnings = _read(joined)
    assert [f.time_s for f in whole] == pytest.approx([k / 25 for k in range(120)])
    assert any("1 timestamps repeat, run backwards or leap ahead: moved" in w for w in warnings)
    part, _ = _read(joined, start_s=4.0, end_s=4.4)
    assert [(f.index, f.time_s) for f in part] == [(f.index, f.time_s) for f in whole[100:110]]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[100:110], strict=True))


def test_a_range_after_the_end_is_empty(tmp_path, make_video):
    assert _read(make_video(tmp_path / "short.mp4", 5), start_s=10.0)[0] == []


def test_a_name_beyond_the_system_is_refused(tmp_path):
    for open_it in (open_source, probe):
        with pytest.raises(VideoError, match=r"xx\.mp4: cannot be read: File name too long"):
            open_it(tmp_path / ("x" * 300 + ".mp4"))


def test_an_empty_range_is_refused(tmp_path, make_video):
    with pytest.raises(ConfigError, match=r"end 1.0 s is not after start 2.0 s"):
        open_source(make_video(tmp_path / "short.mp4", 5), start_s=2.0, end_s=1.0)


def test_only_few_pictures_are_alive_at_a_time(tmp_path, make_video):
    path = make_video(tmp_path / "long.mp4", 60, size=(128, 96))
    alive: list[weakref.ref] = []
    most = 0
    with open_source(path) as source:
        for frame in source.frames():
            alive.append(weakref.ref(frame.image))
            del frame
            most = max(most, sum(ref() is not None for ref in alive))
    assert len(alive) == 60
    assert most <= 2


def test_frames_can_be_read_again_and_left_early(tmp_path, make_video):
    path = make_video(tmp_path / "v.mp4", 12)
    with open_source(path) as source:
        for frame in source.frames():
            if frame.index == 3:
                break
        assert len(list(source.frames())) == 12


def test_probe_tells_what_the_header_says(tmp_path, make_video):
    info = probe(make_video(tmp_path / "v.mp4", 50, size=(64, 48), fps=25, audio_codec="aac"))
    assert (info.width_px, info.height_px, info.fps, info.num_frames_from_header) == (64, 48, Fraction(25), 50)
    assert (info.codec, info.pixel_format, info.has_audio, info.is_hdr) == ("h264", "yuv420p", True, False)
    assert info.duration_s == pytest.approx(2.0)


def _text(path: Path) -> Path:
    path.write_text("not a video\n" * 100)
    return path


def _noise(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(20000))
    return path


def _nothing(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda p: p, "missing.mp4", "no such file"),
        (_nothing, "empty.mp4", "is empty (0 bytes)"),
        (_text, "readme.txt", "is not a video"),
        (_noise, "noise.mp4", "cannot be read as a video"),
        (_folder, "folder", "folder without images"),
        (_noise, "noise.png", "cannot be read as an image"),
    ],
)
def test_what_is_no_video_is_said_in_one_line(tmp_path, make, name, message):
    path = make(tmp_path / name)
    for use in (open_source, probe):
        with pytest.raises(VideoError) as error:
            use(path)
        assert message in str(error.value)
        assert str(path) in error.value.message
        assert "\n" not in str(error.value)


def test_sound_alone_is_refused(tmp_path, make_video):
    import av

    source = make_video(tmp_path / "v.mp4", 10, audio_codec="aac")
    path = tmp_path / "sound.m4a"
    with av.open(str(source)) as given, av.open(str(path), "w", format="mp4") as out:
        target = out.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(audio=0):
            if packet.size:
                packet.stream = target
                out.mux(packet)
    with pytest.raises(VideoError, match=r"no video stream \(only audio\)"):
        open_source(path)


def test_names_that_look_like_addresses_are_files(tmp_path, make_video):
    path = make_video(tmp_path / "v.mp4", 3).rename(tmp_path / "http: 12:30 é%d.mp4")
    assert len(_read(path)[0]) == 3


def test_a_playlist_reaches_no_network(tmp_path):
    path = tmp_path / "list.m3u8"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{url}\n#EXT-X-ENDLIST\n")
        with pytest.raises(VideoError):
            open_source(path)
        with pytest.raises(BlockingIOError):
            server.accept()
