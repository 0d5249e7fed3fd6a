"""Sound copied from one file to another, packet by packet, undecoded."""

from __future__ import annotations

import io
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError

from posecli.video.container import open_container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.codec.context import CodecContext
    from av.packet import Packet


class AudioCopy:
    """One audio stream on its way to another file; made by `copy_audio`."""

    def __init__(
        self, packets: Iterator[Packet[AudioStream]], target: AudioStream, output: OutputContainer, warnings: list[str]
    ) -> None:
        self._packets = packets
        self._target = target
        self._output = output
        self._warnings = warnings
        self._waiting: Packet[AudioStream] | None = None

    def write_until(self, end_s: Fraction | None, *, start_s: Fraction, is_cut: bool) -> None:
        """Copy the packets that begin before a time.

        Args:
            end_s: Seconds on the source's clock; ``None`` for all that remain.
            start_s: The source's time that becomes 0.
            is_cut: Whether packets before ``start_s`` are dropped; else they keep their (negative) times.
        """
        while (packet := self._next()) is not None:
            time_base, pts = packet.time_base, packet.pts
            assert pts is not None, "packets without pts are not let through"
            if end_s is not None and pts * time_base >= end_s:
                self._waiting = packet
                return
            if is_cut and pts * time_base < start_s:
                continue
            shift = round(start_s / time_base)
            packet.dts = (pts if packet.dts is None else packet.dts) - shift
            packet.pts = pts - shift
            packet.stream = self._target
            self._output.mux(packet)

    def _next(self) -> Packet[AudioStream] | None:
        if self._waiting is not None:
            packet, self._waiting = self._waiting, None
            return packet
        try:
            return next((p for p in self._packets if p.size and p.pts is not None), None)
        except FFmpegError as error:
            self._warnings.append(f"sound breaks off: {error.strerror}")
            return None


def copy_audio(path: Path, output: OutputContainer, stack: ExitStack, warnings: list[str]) -> AudioCopy | None:
    """Prepare copying the first audio stream of a file.

    Args:
        path: The file with the sound.
        output: Where it goes; its header is not written yet.
        stack: Closes the file in the end.
        warnings: Gets a line when the sound cannot be kept.

    Returns:
        ``None`` when there is no sound, or the output format cannot hold it.

    Raises:
        VideoError: The file cannot be read.
    """
    source = stack.enter_context(open_container(path))
    stream = next(iter(source.streams.audio), None)
    if stream is None:
        return None
    if not _fits(path, output.format.name):
        context = cast("CodecContext | None", stream.codec_context)  # None where FFmpeg lacks the decoder
        codec = "of an unknown kind" if context is None else context.codec.canonical_name
        warnings.append(f"{path}: its sound ({codec}) does not fit into {output.format.name} and was left out")
        return None
    target = _add_stream(output, stream)
    return AudioCopy(source.demux(stream), target, output, warnings)


def _fits(path: Path, format_name: str) -> bool:
    """Try it on a file in memory: the muxer's list of codecs promises more than it can hold (PCM in mp4)."""
    try:
        with open_container(path) as source, av.open(io.BytesIO(), "w", format=format_name) as trial:
            stream = source.streams.audio[0]
            target = _add_stream(trial, stream)
            packet = next((p for p in source.demux(stream) if p.size and p.pts is not None), None)
            if packet is not None:
                packet.stream = target
                trial.mux(packet)
    except (FFmpegError, ValueError, AttributeError):  # AttributeError: FFmpeg has no decoder, so no codec to ask for
        return False
    return True


def _add_stream(output: OutputContainer, stream: AudioStream) -> AudioStream:
    target = output.add_stream_from_template(stream)
    # WAV-like sources give a number of channels without their places; mp4 wants the places.
    places = {"1 channels": "mono", "2 channels": "stereo"}.get(stream.layout.name)
    if places is not None:
        target.codec_context.layout = places
    return target
