"""Writes H.264 video that plays anywhere, with the source's timestamps and its sound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from posecli.atomic import atomic_path
from posecli.errors import DeviceError, OutputError
from posecli.records import ImageArray
from posecli.video.audio import AudioCopy, copy_audio

_MP4_SUFFIXES = frozenset({".mp4", ".m4v", ".mov"})
_SUFFIXES = _MP4_SUFFIXES | {".mkv"}
_BT709 = 1  # AVCOL_SPC_BT709
_AVX_512F = 13  # CV_CPU_AVX_512F
_MAX_MP4_TICKS = 2**31 - 1  # from one packet to the next, and from its place in the file to when it is shown


class VideoSink:
    """A video file being written; appears under its name when the ``with`` block ends well, and not at all otherwise.

    libx264, yuv420p, BT.709, index at the front (``faststart``). Pictures with an odd side get one more column or row, a copy of the
    last. Timestamps are kept as given, relative to the first, so a variable frame rate stays one (exactly in mp4; Matroska rounds
    to milliseconds). Audio packets are copied as they are. The same pictures and number of threads give the same bytes.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov`` or ``.mkv``.
        size_wh: Size of the pictures, px.
        time_base: Seconds per tick of the pts given to `write`.
        fps: Nominal rate for the header; ``None`` when unknown.
        crf: Quality of libx264, 0 (lossless) to 51.
        preset: Speed of libx264.
        audio_from: A file whose first audio stream is copied. The pts given to `write` must then be on that file's clock.
        trim_audio: Keep only the audio between the first and the last picture written (for a cut); else all of it.
        overwrite: Whether an existing file may be replaced.
        num_threads: Encoder threads; by default two where there are two processors.

    Raises:
        OutputError: (on entering) the file exists already or cannot be written, or the suffix is unknown.
    """

    def __init__(
        self,
        path: Path,
        *,
        size_wh: tuple[int, int],
        time_base: Fraction,
        fps: Fraction | None,
        crf: int = 20,
        preset: str = "veryfast",
        audio_from: Path | None = None,
        trim_audio: bool = False,
        overwrite: bool = False,
        num_threads: int | None = None,
    ) -> None:
        if path.suffix.lower() not in _SUFFIXES:
            raise OutputError(f"{path}: cannot write {path.suffix or 'a file without suffix'}", hint="use .mp4 or .mkv")
        self.path = path
        self.warnings: list[str] = []
        self._size_wh = size_wh
        self._time_base = time_base
        self._fps = fps
        self._options = {"crf": str(crf), "preset": preset, **_repeatable()}
        self._audio_from = audio_from
        self._trim_audio = trim_audio
        self._overwrite = overwrite
        self._num_threads = num_threads or min(2, os.cpu_count() or 1)
        self._reformatter = VideoReformatter()
        self._first_pts: int | None = None
        self._last_pts = -1
        self._last_step = 1
        self._num_moved = 0
        self._is_mp4 = path.suffix.lower() in _MP4_SUFFIXES
        self._last_dts: int | None = None

    def __enter__(self) -> Self:
        self._session: AbstractContextManager[None] = self._open()
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._session.__exit__(kind, value, trace)

    @contextmanager
    def _open(self) -> Iterator[None]:
        with atomic_path(self.path, overwrite=self._overwrite) as temporary, ExitStack() as stack:
            try:
                options = {"movflags": "+faststart"} if self._is_mp4 else {}
                self._container = stack.enter_context(av.open(f"file:{temporary}", "w", container_options=options))
                self._stream = self._add_stream(self._container)
                self._audio: AudioCopy | None = None
                if self._audio_from is not None:
                    self._audio = copy_audio(self._audio_from, self._container, stack, self.warnings)
                self._container.start_encoding()  # it chooses its ticks
                yield
                self._finish()
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    what = f"{self.path}: memory ran out while it was encoded"
                    raise DeviceError(what, hint="close other programs, and give the same command again") from error
                raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        rate = self._fps or 1 / self._time_base
        stream = container.add_stream("libx264", rate=rate, options=self._options)
        stream.width, stream.height = (side + side % 2 for side in self._size_wh)
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = self._time_base
        stream.color_primaries, stream.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        stream.colorspace, stream.color_range = _BT709, ColorRange.MPEG
        stream.codec_context.thread_count = self._num_threads
        return stream

    def write(self, image: ImageArray, pts: int) -> None:
        """Append a picture.

        Args:
            image: (H, W, 3) uint8 RGB of the size given to the constructor.
            pts: When it is shown, in ticks of the time base; one that does not come after the one before is moved.

        Raises:
            ValueError: The picture has another size.
            OutputError: The file cannot be written, or is mp4 and there are hours between two frames.
            DeviceError: Memory ran out.
        """
        width, height = self._size_wh
        if image.shape != (height, width, 3):
            raise ValueError(f"picture of shape {image.shape} for a video of {width}x{height}")
        if self._first_pts is None:
            self._first_pts = pts
        frame = self._frame(image)
        frame.pts, frame.time_base = self._next_pts(pts - self._first_pts), self._time_base
        if self._audio is not None:
            self._audio.write_until(self._time_s(self._last_pts), start_s=self._time_s(0), is_cut=self._trim_audio)
        self._mux(self._stream.encode(frame))

    def _next_pts(self, pts: int) -> int:
        if pts <= self._last_pts:
            self._num_moved += 1
            pts = self._last_pts + 1
        if self._last_pts >= 0:
            self._last_step = pts - self._last_pts
        self._last_pts = pts
        return pts

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            if self._is_mp4:
                self._check_times(packet)
            self._container.mux(packet)

    def _check_times(self, packet: Packet[VideoStream]) -> None:
        assert packet.pts is not None
        assert packet.dts is not None
        since = packet.dts if self._last_dts is None else self._last_dts
        self._last_dts = packet.dts
        gap_s = max(packet.pts - packet.dts, packet.dts - since) * packet.time_base
        # the container may have chosen finer ticks than ours
        if gap_s / (self._stream.time_base or self._time_base) >= _MAX_MP4_TICKS:
            raise OutputError(
                f"{self.path}: there are {float(gap_s):.0f} s between two frames, more than mp4 can hold",
                hint="write .mkv, or cut the video there",
            )

    def _time_s(self, pts: int) -> Fraction:
        """Seconds on the source's clock of a timestamp of ours."""
        return (pts + (self._first_pts or 0)) * self._time_base

    def _frame(self, image: ImageArray) -> VideoFrame:
        height, width = image.shape[:2]
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=self._num_threads,
        )

    def _finish(self) -> None:
        if self._first_pts is None:
            raise OutputError(f"{self.path}: no picture to write")
        if self._audio is not None:
            end_s = self._time_s(self._last_pts + self._last_step) if self._trim_audio else None
            self._audio.write_until(end_s, start_s=self._time_s(0), is_cut=self._trim_audio)
        self._mux(self._stream.encode(None))
        if self._num_moved:
            self.warnings.append(f"{self.path}: {self._num_moved} timestamps did not ascend and were moved")


def _repeatable() -> dict[str, str]:
    """Options without which libx264 may give other bytes for the same pictures.

    Its macroblock tree as written for AVX-512 depends on what memory happens to hold, at least for pictures narrower than 400 px (seen
    with core 165: eight encodings of one clip of 96x64, five different files); as written for AVX2, which any such processor has too,
    it does not, and takes no longer.
    """
    return {"x264-params": "asm=avx2"} if cv2.checkHardwareSupport(_AVX_512F) else {}
