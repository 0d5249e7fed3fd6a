"""Packets of a file decoded to rows: one row for every picture the file stores, decodable or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import cast

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from posecli.video.container import (
    VideoPacket,
    has_usable_timestamps,
    is_clean_start,
    open_container,
    read_packets,
    video_stream,
)
from posecli.video.ledger import Ledger, OrderLedger, Row, TimestampLedger
from posecli.video.limits import MAX_PIXELS
from posecli.video.start import StartPoint


class RowReader:
    """Decodes one file once.

    Each packet carries its number through the decoder (``copy_opaque``), so a picture is matched with its packet whatever its
    timestamps say; packets whose picture never comes give empty rows.

    Args:
        path: A video file.
        start: Where decoding begins.
        num_threads: Decoder threads; each holds one picture.
    """

    def __init__(self, path: Path, start: StartPoint, *, num_threads: int) -> None:
        self._path = path
        self._start = start
        self._num_threads = num_threads
        # Clean starts just fed, for a second look at pictures that a failed flush took along.
        self._recent_starts: deque[int] = deque([start.packet_number], maxlen=4)
        self._lost_in_flush = False
        self.num_packets = 0
        self.warnings: list[str] = []

    def rows(self) -> Generator[Row]:
        """Rows in display order."""
        ledger: Ledger | None = None
        for ledger in self._feed():
            yield from ledger.ready()
        if ledger is None:
            return
        if self._lost_in_flush and self._num_threads > 1:
            self._decode_again(ledger)
        yield from ledger.finish()
        if ledger.num_extra:
            self.warnings.append(f"{ledger.num_extra} pictures beyond one a packet were left out")

    def _feed(self) -> Iterator[Ledger]:
        """Send packets to the decoder; yields the ledger after each."""
        ledger: Ledger | None = None
        with _decoder(self._path, self._num_threads) as (container, stream):
            for number, packet in enumerate(read_packets(container, stream, self.warnings)):
                self.num_packets = number + 1
                if number < self._start.packet_number or self._is_before_start(packet):
                    continue
                if ledger is None:
                    ledger = _new_ledger(container, stream, packet)
                if is_clean_start(stream, packet):
                    self._recent_starts.append(number)
                if not packet.is_discard:
                    ledger.sent(number, packet.pts if packet.pts is not None else packet.dts)
                self._decode(stream, packet, number, ledger)
                yield ledger
            if ledger is not None:
                self._lost_in_flush = self._decode(stream, None, None, ledger)
                yield ledger

    def _is_before_start(self, packet: VideoPacket) -> bool:
        return self._start.min_pts is not None and packet.pts is not None and packet.pts < self._start.min_pts

    def _decode(self, stream: VideoStream, packet: VideoPacket | None, number: int | None, ledger: Ledger) -> bool:
        """Whether the decoder refused something; it does not say which packet."""
        pictures = _pictures(stream, packet, number)
        ledger.saw_error |= pictures is None
        for picture in pictures or ():
            ledger.decoded(cast("int | None", picture.opaque), picture)
        return pictures is None

    def _decode_again(self, ledger: Ledger) -> None:
        """With frame threads an error at the end of the stream swallows the good pictures behind it; one thread finds them."""
        missing = ledger.missing()
        if not missing:
            return
        begin = max((s for s in self._recent_starts if s <= min(missing)), default=self._start.packet_number)
        with _decoder(self._path, 1) as (container, stream):
            for number, packet in enumerate(chain(read_packets(container, stream, []), [None])):
                if number < begin:
                    continue
                for picture in _pictures(stream, packet, number) or ():
                    if picture.opaque in missing:
                        ledger.decoded(picture.opaque, picture)


def _pictures(stream: VideoStream, packet: VideoPacket | None, number: int | None) -> list[VideoFrame] | None:
    """What the decoder gives for a packet (``None``: flush); ``None`` when it refuses one."""
    if packet is not None:
        packet.opaque = number
    try:
        return stream.codec_context.decode(packet)
    except FFmpegError:
        return None


@contextmanager
def _decoder(path: Path, num_threads: int) -> Iterator[tuple[InputContainer, VideoStream]]:
    with open_container(path) as container:
        stream = video_stream(container, path)
        stream.codec_context.copy_opaque = True
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # pictures later on may be of another size
        stream.thread_type = "FRAME"
        stream.thread_count = num_threads
        try:
            yield container, stream
        finally:
            # A decoder thread needs Python's lock to let go of a packet's number, and closing the decoder waits for its threads
            # while holding that lock: for ever, if one is still at work. Flushing waits too, but without the lock.
            stream.codec_context.flush_buffers()


def _new_ledger(container: InputContainer, stream: VideoStream, first_packet: VideoPacket) -> Ledger:
    if has_usable_timestamps(container, stream, first_packet):
        return TimestampLedger()
    return OrderLedger() if stream.codec_context.reorder_depth else OrderLedger(reorder=0)


def first_picture(path: Path) -> VideoFrame | None:
    """The first picture that can be decoded, or ``None``."""
    with _decoder(path, 1) as (container, stream):
        for packet in chain(read_packets(container, stream, []), [None]):
            pictures = _pictures(stream, packet, None)
            if pictures:
                return pictures[0]
    return None
