"""Frames of a video file, decoded with PyAV: every packet gives a frame, in display order, numbered from 0."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from posecli.errors import DeviceError, VideoError
from posecli.records import Frame, ImageArray, VideoInfo
from posecli.video.clock import FrameClock
from posecli.video.container import open_container, stream_duration_s, time_base_of, video_stream
from posecli.video.decoding import RowReader, first_picture
from posecli.video.picture import PictureConverter, Turn, colour_of, display_turn, is_hdr
from posecli.video.start import BEGINNING, find_start


class FileSource:
    """A video file as frames. See `posecli.video.source.open_source`."""

    def __init__(
        self, path: Path, *, start_s: float | None = None, end_s: float | None = None, num_threads: int | None = None
    ) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._start_s = start_s
        self._end_s = end_s
        self._num_threads = num_threads or min(2, os.cpu_count() or 1)
        self._running: Generator[Frame] | None = None
        self.info, self._turn, self._stored_wh, oddities = _examine(path)
        self.warnings += oddities
        if self.info.is_hdr:
            self.warnings.append(f"HDR video ({self.info.colour}): tone-mapped to 8-bit BT.709")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop a decoding that has not come to its end."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def frames(self) -> Iterator[Frame]:
        """Decode from the first wanted frame on; a second call begins anew.

        Yields:
            Frames in display order. ``index`` counts from the beginning of the whole video.
        """
        self.close()
        self._running = self._decode()
        return self._running

    def _decode(self) -> Generator[Frame]:
        start = find_start(self.path, self._start_s) if self._start_s else BEGINNING
        reader = RowReader(self.path, start, num_threads=self._num_threads)
        clock = FrameClock(self.info.time_base, self.info.fps, zero_pts=start.zero_pts)
        convert = PictureConverter(self._stored_wh, self._turn, num_threads=self._num_threads)
        previous: ImageArray | None = None
        num_corrupt, is_whole = 0, False
        try:
            with contextlib.closing(reader.rows()) as rows:
                for index, row in enumerate(rows, start.first_index):
                    pts, time_s = clock.tick(row.pts)
                    if self._end_s is not None and time_s >= self._end_s:
                        break
                    if self._start_s is not None and time_s < self._start_s:
                        continue
                    if row.picture is None or row.picture.is_corrupt:
                        num_corrupt += 1
                        yield Frame(index, pts, time_s, self._placeholder(previous), "corrupt")
                    else:
                        previous = self._image(convert, row.picture, index)
                        yield Frame(index, pts, time_s, previous)
                else:
                    is_whole = True
        finally:
            # Also when the reader stops early: what was seen so far is known.
            self.warnings += [*reader.warnings, *clock.warnings()]
            if num_corrupt:
                self.warnings.append(f"{num_corrupt} corrupt frames: the picture before stands in for each")
            if convert.num_resized:
                self.warnings.append(f"{convert.num_resized} frames of another size: scaled to that of the first")
            if is_whole:
                self._check_length(reader.num_packets, clock.latest_s)

    def _image(self, convert: PictureConverter, picture: VideoFrame, index: int) -> ImageArray:
        try:
            return convert(picture)
        except (FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                what = f"{self.path}: memory ran out with the picture of frame {index}"
                raise DeviceError(what, hint="close other programs, or annotate this video alone") from error
            what = f"{self.path}: frame {index}: pixel format {picture.format.name} cannot be converted to RGB"
            raise VideoError(what, hint="convert the video to H.264 first") from error

    def _placeholder(self, previous: ImageArray | None) -> ImageArray:
        if previous is not None:
            return previous.copy()
        return np.zeros((self.info.height_px, self.info.width_px, 3), np.uint8)

    def _check_length(self, num_packets: int, last_s: float) -> None:
        promised, duration_s = self.info.num_frames_from_header, self.info.duration_s
        if promised is not None:
            if num_packets < promised:
                self.warnings.append(f"file breaks off: {num_packets} of the {promised} frames its header promises")
        elif duration_s is not None and last_s < duration_s - 1.0:
            self.warnings.append(f"file breaks off: {last_s:.2f} of the {duration_s:.2f} s its header promises")


def probe_file(path: Path) -> VideoInfo:
    """What a video file says about itself; decodes one picture.

    Raises:
        VideoError: It is not a video, or not one picture of it can be decoded.
    """
    return _examine(path)[0]


def _examine(path: Path) -> tuple[VideoInfo, Turn, tuple[int, int], list[str]]:
    """The facts, how pictures are turned, their stored size, and what is odd."""
    picture = first_picture(path)
    if picture is None:
        raise VideoError(
            f"{path}: not one picture can be decoded", hint="the file is damaged or cut off: copy or record it again"
        )
    turn, stored_wh = display_turn(picture), (picture.width, picture.height)
    width_px, height_px = turn.size_wh(*stored_wh)
    with open_container(path) as container:
        stream = video_stream(container, path)
        # Without timestamps the average is FFmpeg's default of 25; the guess reads the stream's own header.
        rate = (stream.average_rate if stream.start_time is not None else None) or stream.guessed_rate
        info = VideoInfo(
            path=path,
            width_px=width_px,
            height_px=height_px,
            fps=Fraction(rate) if rate else None,
            num_frames_from_header=stream.frames or None,
            duration_s=stream_duration_s(container, stream),
            rotation_deg=turn.rotation_deg,
            time_base=time_base_of(stream),
            codec=stream.codec_context.name,
            pixel_format=picture.format.name,
            colour=colour_of(picture),
            is_hdr=is_hdr(picture),
            has_audio=bool(container.streams.audio),
        )
        aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        return info, turn, stored_wh, [f"pixels are not square ({aspect}): coordinates are those of the stored picture"]
    return info, turn, stored_wh, []
