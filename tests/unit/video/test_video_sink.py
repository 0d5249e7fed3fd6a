"""What is written plays anywhere, keeps its clock, and brings its sound along unchanged."""

from __future__ import annotations

import errno
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from posecli.errors import DeviceError, OutputError, VideoError
from posecli.video.sink import VideoSink
from posecli.video.source import open_source

MS = Fraction(1, 1000)


def _flat(value: int, size=(64, 48)) -> np.ndarray:
    return np.full((size[1], size[0], 3), value, np.uint8)


def _write(path: Path, pts, *, size=(64, 48), time_base=MS, **options) -> VideoSink:
    with VideoSink(path, size_wh=size, time_base=time_base, fps=Fraction(25), **options) as sink:
        for k, p in enumerate(pts):
            sink.write(_flat(10 * k % 250, size), p)
    return sink


def _audio(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        return [(float((p.pts or 0) * p.time_base), bytes(p)) for p in container.demux(audio=0) if p.size]


def test_variable_timestamps_are_kept(tmp_path):
    pts = [40, 80, 95, 300, 301, 700]
    _write(tmp_path / "v.mp4", pts)
    with open_source(tmp_path / "v.mp4") as source:
        assert [f.time_s for f in source.frames()] == pytest.approx([(p - 40) / 1000 for p in pts], abs=1e-12)


@pytest.mark.parametrize("time_base", [Fraction(1001, 30000), Fraction(1, 90000), Fraction(1), Fraction(1, 200000)])
def test_time_bases_are_exact(tmp_path, time_base):
    _write(tmp_path / "v.mp4", range(0, 50, 5), time_base=time_base)
    with open_source(tmp_path / "v.mp4") as source:
        assert [f.time_s for f in source.frames()] == [float(k * time_base) for k in range(0, 50, 5)]


def test_it_is_h264_bt709_with_the_index_in_front(tmp_path):
    _write(tmp_path / "v.mp4", range(0, 400, 40))
    data = (tmp_path / "v.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with open_source(tmp_path / "v.mp4") as source:
        assert (source.info.codec, source.info.pixel_format) == ("h264", "yuv420p")
        assert source.info.colour == "bt709/bt709/bt709/tv"


def test_colours_survive(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = (220, 40, 30), (20, 90, 210)
    with VideoSink(tmp_path / "v.mp4", size_wh=(64, 48), time_base=MS, fps=None, crf=5) as sink:
        sink.write(picture, 0)
    with open_source(tmp_path / "v.mp4") as source:
        (frame,) = source.frames()
    assert frame.image[20, 8].astype(int) == pytest.approx([220, 40, 30], abs=5)
    assert frame.image[20, 56].astype(int) == pytest.approx([20, 90, 210], abs=5)


@pytest.mark.parametrize(("size", "even"), [((63, 48), (64, 48)), ((64, 47), (64, 48)), ((1, 1), (2, 2))])
def test_odd_sizes_get_a_copy_of_their_edge(tmp_path, size, even):
    _write(tmp_path / "v.mp4", [0, 40], size=size)
    with open_source(tmp_path / "v.mp4") as source:
        first = next(source.frames())
        assert (source.info.width_px, source.info.height_px) == even
    assert abs(int(first.image[-1, -1, 0]) - int(first.image[0, 0, 0])) <= 2


def test_timestamps_that_do_not_ascend_are_moved_and_told(tmp_path):
    sink = _write(tmp_path / "v.mp4", [0, 40, 40, 30, 80])
    assert sink.warnings == [f"{tmp_path / 'v.mp4'}: 2 timestamps did not ascend and were moved"]
    with open_source(tmp_path / "v.mp4") as source:
        assert [round(f.time_s * 1000) for f in source.frames()] == [0, 40, 41, 42, 80]


@pytest.mark.parametrize(
    ("time_base", "pts"),
    [
        (Fraction(1, 90_000), [0, 3600, 2**31 + 9]),
        (Fraction(1, 90_000), [0, 2**30, 2**31]),  # the first waits for the third
        (Fraction(1, 25), [0, 1, 2**22 + 9]),  # mp4 counts in 1/12800 here
    ],
)
def test_a_gap_too_long_for_mp4_is_told_and_fits_into_mkv(tmp_path, time_base, pts):
    with pytest.raises(OutputError, match=r"v\.mp4: there are \d+ s between .* more than mp4 can hold"):
        _write(tmp_path / "v.mp4", pts, time_base=time_base)
    assert list(tmp_path.iterdir()) == []
    _write(tmp_path / "v.mkv", pts, time_base=time_base)
    with av.open(str(tmp_path / "v.mkv")) as container:
        times = sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.pts is not None)
    assert times == pytest.approx([float(p * time_base) for p in pts], abs=1e-3)


def test_a_gap_of_hours_fits_into_mp4(tmp_path):
    pts = [*range(0, 36_000, 3600), *range(2**31 - 20_000, 2**31 - 10_000, 3600)]
    _write(tmp_path / "v.mp4", pts, time_base=Fraction(1, 90_000))
    with open_source(tmp_path / "v.mp4") as source:
        assert [f.time_s for f in source.frames()] == [p / 90_000 for p in pts]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def pts():
        yield from (0, 40)
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        _write(tmp_path / "v.mp4", pts())
    assert list(tmp_path.iterdir()) == []


def test_memory_that_runs_out_is_no_fault_of_the_disk(tmp_path):
    sink = VideoSink(tmp_path / "v.mp4", size_wh=(64, 48), time_base=MS, fps=Fraction(25))
    with pytest.raises(DeviceError, match=r"v\.mp4: memory ran out"), sink:
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")
    assert list(tmp_path.iterdir()) == []


def test_nothing_written_is_an_error(tmp_path):
    with (
        pytest.raises(OutputError, match="no picture to write"),
        VideoSink(tmp_path / "v.mp4", size_wh=(64, 48), time_base=MS, fps=None),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept_unless_asked(tmp_path):
    (tmp_path / "v.mp4").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        _write(tmp_path / "v.mp4", [0])
    assert (tmp_path / "v.mp4").read_text() == "precious"
    _write(tmp_path / "v.mp4", [0], overwrite=True)
    assert (tmp_path / "v.mp4").stat().st_size > 100


def test_unknown_suffixes_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write \.avi"):
        VideoSink(tmp_path / "v.avi", size_wh=(64, 48), time_base=MS, fps=None)


def test_pictures_of_another_size_are_a_mistake(tmp_path):
    with (
        pytest.raises(ValueError, match="64x48"),
        VideoSink(tmp_path / "v.mp4", size_wh=(64, 48), time_base=MS, fps=None) as sink,
    ):
        sink.write(_flat(0, (48, 64)), 0)


@pytest.mark.parametrize(
    ("codec", "source_name", "target_name"),
    [
        ("aac", "s.mp4", "v.mp4"),
        ("aac", "s.mkv", "v.mp4"),
        ("libmp3lame", "s.mkv", "v.mp4"),
        ("libopus", "s.webm", "v.mp4"),
        ("flac", "s.mkv", "v.mp4"),
        ("pcm_s16le", "s.mkv", "v.mp4"),
        ("pcm_s16le", "s.mkv", "v.mkv"),
    ],
)
def test_sound_is_copied_bit_by_bit(tmp_path, make_video, codec, source_name, target_name):
    video_codec = "libvpx-vp9" if source_name.endswith("webm") else "libx264"
    source = make_video(tmp_path / source_name, 50, codec=video_codec, audio_codec=codec, audio_s=2.3)
    sink = _write(tmp_path / target_name, range(0, 2000, 40), audio_from=source)
    assert sink.warnings == []
    before, after = _audio(source), _audio(tmp_path / target_name)
    assert [data for _, data in after] == [data for _, data in before]
    assert [t for t, _ in after] == pytest.approx([t for t, _ in before], abs=0.0011)  # Matroska: milliseconds


def test_sound_moves_with_the_picture(tmp_path, make_video):
    """Source pictures begin at 1 s on the file's clock: its sound begins 1 s before the first picture, and still does."""
    source = make_video(
        tmp_path / "s.mkv",
        25,
        pts=[1000 + 40 * k for k in range(25)],
        time_base=MS,
        audio_codec="libmp3lame",
        audio_s=3.0,
    )
    _write(tmp_path / "v.mkv", [1000 + 40 * k for k in range(25)], audio_from=source)
    before, after = _audio(source), _audio(tmp_path / "v.mkv")
    assert [data for _, data in after] == [data for _, data in before]
    with open_source(tmp_path / "v.mkv") as result:
        first_picture_s = float((next(result.frames()).pts or 0) * result.info.time_base)
    assert first_picture_s - after[0][0] == pytest.approx(1.0 - before[0][0], abs=0.0011)


def test_a_cut_keeps_only_its_own_sound(tmp_path, make_video):
    source = make_video(tmp_path / "s.mkv", 50, audio_codec="libmp3lame")
    _write(tmp_path / "v.mp4", range(800, 1200, 40), audio_from=source, trim_audio=True)
    wanted = [(t - 0.8, data) for t, data in _audio(source) if 0.8 <= t < 1.2]
    found = _audio(tmp_path / "v.mp4")
    assert [data for _, data in found] == [data for _, data in wanted]
    assert [t for t, _ in found] == pytest.approx([t for t, _ in wanted], abs=0.001)


def test_sound_that_does_not_fit_is_left_out_and_told(tmp_path, make_video):
    source = make_video(tmp_path / "s.avi", 10, codec="mpeg4", audio_codec="adpcm_ms")
    sink = _write(tmp_path / "v.mp4", range(0, 400, 40), audio_from=source)
    assert sink.warnings == [f"{source}: its sound (adpcm_ms) does not fit into mp4 and was left out"]
    with open_source(tmp_path / "v.mp4") as result:
        assert not result.info.has_audio
        assert len(list(result.frames())) == 10


def test_a_silent_source_is_fine(tmp_path, make_video):
    sink = _write(tmp_path / "v.mp4", [0, 40], audio_from=make_video(tmp_path / "s.mp4", 2))
    assert sink.warnings == []


def test_a_source_of_sound_must_exist(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        _write(tmp_path / "v.mp4", [0], audio_from=tmp_path / "gone.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(96, 64), (160, 120), (304, 96)])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_same_pictures_give_the_same_bytes_whatever_memory_held_before(tmp_path, size, num_threads):
    random = np.random.default_rng(0)
    width, height = size
    base = random.integers(0, 128, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    base = base.repeat(8, 0).repeat(8, 1)[:height, :width]
    pictures = [np.roll(base, k, 1) + random.integers(0, 20, base.shape, dtype=np.uint8) for k in range(50)]
    written = set()
    for _ in range(5):
        rubbish = [random.bytes(int(num_bytes)) for num_bytes in random.integers(1, 1 << 20, 8)]
        del rubbish
        path = tmp_path / "v.mp4"
        with VideoSink(
            path, size_wh=size, time_base=MS, fps=Fraction(25), overwrite=True, num_threads=num_threads
        ) as sink:
            for k, picture in enumerate(pictures):
                sink.write(picture, 40 * k)
        written.add(path.read_bytes())
    assert len(written) == 1
