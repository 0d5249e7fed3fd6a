"""Opening a video file and walking through its packets, without decoding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from posecli.errors import VideoError
from posecli.video.limits import MAX_PIXELS, check_size
from posecli.video.no_video import check_file, what_it_is

VideoPacket: TypeAlias = "Packet[VideoStream]"  # not subscriptable at run time

# FFmpeg reads plain text as ANSI art; nobody wants poses of that.
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf", "sbg"})
_MAX_READ_ERRORS = 10
# Opening decodes the first pictures of some formats.
_OPTIONS = {"protocol_whitelist": "file,crypto,data", "max_pixels": str(MAX_PIXELS)}
# Every picture after a key frame of these can be decoded from that key frame on (H.264: only from an IDR picture on).
_CLEAN_KEY_CODECS = frozenset(
    {
        "hevc",
        "vp8",
        "vp9",
        "av1",
        "libdav1d",
        "mpeg4",
        "mpeg2video",
        "mjpeg",
        "png",
        "ffv1",
        "prores",
        "rawvideo",
        "dvvideo",
    }
)
_H264_SLICE, _H264_IDR = 1, 5
_DURATION_TAG = re.compile(
    r"(\d{1,6}):(\d\d):(\d\d(?:\.\d{1,12})?)(?![^\x00])", re.ASCII
)  # Matroska, "00:00:02.400000000"


def open_container(path: Path) -> InputContainer:
    """Open a video file.

    Raises:
        VideoError: The file is missing, empty, unreadable, or not a video.
    """
    check_file(path)
    try:
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: is empty (0 bytes)", hint="copy or record it again")
        # "file:" keeps FFmpeg from reading "12:30.mp4" as a network address; playlists may not reach out either.
        container = av.open(f"file:{path}", "r", options=_OPTIONS, metadata_errors="ignore")
    except FFmpegError as error:
        raise VideoError(f"{path}: cannot be read as a video: {error.strerror}", hint=what_it_is(path)) from error
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from error
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise VideoError(f"{path}: is not a video (looks like text)")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first real video stream; cover art does not count.

    Raises:
        VideoError: There is none, this build of FFmpeg has no decoder for it, or its pictures are too large.
    """
    cover = Disposition.attached_pic
    stream = next((s for s in container.streams.video if not s.disposition & cover), None)
    if stream is None:
        what = "only audio" if container.streams.audio else "no pictures"
        raise VideoError(
            f"{path}: has no video stream ({what})", hint="take it out, or look for the file with the pictures"
        )
    if stream.codec_context is None:
        raise VideoError(f"{path}: its video codec is not supported", hint="convert it to H.264 first")
    check_size(path, stream.codec_context.width, stream.codec_context.height)
    return stream


def time_base_of(stream: VideoStream) -> Fraction:
    """Seconds per tick of a stream's timestamps."""
    assert stream.time_base is not None, "an open input stream has a time base"
    return stream.time_base


def has_usable_timestamps(container: InputContainer, stream: VideoStream, first_packet: VideoPacket) -> bool:
    """Whether sorting packets by pts gives the order of display.

    Raw streams have no pts; AVI stores only the order of decoding (FFmpeg's parser repairs that for MPEG-4).
    """
    context = stream.codec_context
    is_decode_order = container.format.name == "avi" and context.name in {"h264", "hevc"} and context.reorder_depth > 0
    return first_packet.pts is not None and not is_decode_order


def read_packets(container: InputContainer, stream: VideoStream, warnings: list[str]) -> Iterator[VideoPacket]:
    """The packets that stand for pictures, in file order; damage in the container is noted and skipped.

    Args:
        container: An open file.
        stream: The stream to read.
        warnings: Gets a line when the file breaks off or cannot be read in places.
    """
    num_errors = 0
    while num_errors < _MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                # Empty packets: the demuxer's end mark, or a frame that an AVI dropped.
                if packet.size and not _is_hidden(stream, packet):
                    yield packet
            return
        except FFmpegError as error:
            num_errors += 1
            warnings.append(f"damaged file: reading failed ({error.strerror})")


def _is_hidden(stream: VideoStream, packet: VideoPacket) -> bool:
    """Whether a VP8 or VP9 packet holds only a reference picture that is never shown (``alt-ref``)."""
    name = stream.codec_context.name
    if name not in {"vp8", "vp9", "libvpx", "libvpx-vp9"}:
        return False
    data = memoryview(packet)
    return is_hidden_vp8(data[0]) if name in {"vp8", "libvpx"} else is_hidden_vp9(data[0], data[-1])


def is_hidden_vp8(first_byte: int) -> bool:
    """The show_frame bit of a VP8 frame tag is 0 (RFC 6386, 9.1)."""
    return not first_byte >> 4 & 1


def is_hidden_vp9(first_byte: int, last_byte: int) -> bool:
    """A single VP9 frame (no superframe) with show_existing_frame and show_frame 0 (VP9 specification, 6.2)."""
    is_superframe = last_byte >> 5 == 0b110
    is_profile_3 = first_byte >> 4 & 0b11 == 0b11  # one reserved bit more
    shift = 0 if is_profile_3 else 1
    bits = first_byte >> shift
    shows_existing, shows = bits >> 2 & 1, bits & 1
    return not (is_superframe or shows_existing or shows)


def is_clean_start(stream: VideoStream, packet: VideoPacket) -> bool:
    """Whether decoding may begin at this packet and give the same pictures as decoding from the beginning."""
    if not packet.is_keyframe or packet.is_corrupt:
        return False
    context = stream.codec_context
    if context.name in _CLEAN_KEY_CODECS:
        return True
    if context.name != "h264":
        return False
    extradata = context.extradata or b""
    length_size = (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else None
    return h264_picture_type(bytes(packet), length_size) == _H264_IDR


def h264_picture_type(data: bytes, length_size: int | None) -> int | None:
    """The type of the first NAL unit with picture data: 5 for IDR.

    Args:
        data: One access unit.
        length_size: Bytes of the length before each NAL unit (mp4, Matroska); ``None`` for start codes (TS, raw).
    """
    position = 0
    while position < len(data):
        if length_size is None:
            start = data.find(b"\x00\x00\x01", position)
            position = start + 3 if start >= 0 else len(data)
            following = position
        else:
            following = position + length_size + int.from_bytes(data[position : position + length_size], "big")
            position += length_size
        if position >= len(data):
            return None
        kind = data[position] & 31
        if _H264_SLICE <= kind <= _H264_IDR:
            return kind
        position = following
    return None


def stream_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """The duration the header gives for the video stream; that of the whole file when it holds nothing else."""
    if stream.duration is not None:
        return float(stream.duration * time_base_of(stream))
    if tag := _DURATION_TAG.match(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = tag.groups()
        return float(int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds))
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return None
