"""Where to begin decoding for frames from a given time on, without changing a single number."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posecli.video.clock import LEAP_S
from posecli.video.container import (
    has_usable_timestamps,
    is_clean_start,
    open_container,
    read_packets,
    time_base_of,
    video_stream,
)

_PROGRESSIVE = {0, 1}  # AV_FIELD_UNKNOWN, AV_FIELD_PROGRESSIVE
_MIN_SCAN = 64
_MAX_REORDER_S = 1


@dataclass(frozen=True, slots=True)
class StartPoint:
    """A packet at which decoding may begin.

    ``packet_number`` counts packets in file order; its picture is frame ``first_index`` of the whole video. ``zero_pts`` is the pts
    of the video's first frame. Later packets with a pts below ``min_pts`` belong to pictures shown before and are left out.
    """

    packet_number: int = 0
    first_index: int = 0
    zero_pts: int | None = None
    min_pts: int | None = None


BEGINNING = StartPoint()


def find_start(path: Path, start_s: float) -> StartPoint:
    """The last clean key frame at or before a time.

    Packets are read, not decoded, up to that time, and counted by their timestamps. Where that is not certain to give the numbers
    a full decoding gives (missing, repeated, leaping or interlaced timestamps, key frames that later pictures look behind), the
    answer is the beginning of the file.

    Args:
        path: A video file.
        start_s: Seconds after the first frame.

    Raises:
        VideoError: The file cannot be read.
    """
    all_pts: list[int] = []
    starts: list[tuple[int, int]] = []  # (packet number, position in all_pts)
    with open_container(path) as container:
        stream = video_stream(container, path)
        time_base = time_base_of(stream)
        if stream.codec_context.field_order not in _PROGRESSIVE:
            return BEGINNING
        for number, packet in enumerate(read_packets(container, stream, [])):
            if packet.pts is None or not has_usable_timestamps(container, stream, packet):
                return BEGINNING
            if packet.is_discard:
                continue
            if is_clean_start(stream, packet):
                starts.append((number, len(all_pts)))
            all_pts.append(packet.pts)
            # No later packet is shown before this one is decoded.
            if len(all_pts) >= _MIN_SCAN and packet.dts is not None:
                zero_pts = min(all_pts[:_MIN_SCAN])
                if (packet.dts - zero_pts) * time_base > start_s:
                    break
    return _choose(np.array(all_pts, np.int64), starts, time_base, start_s)


def _choose(
    all_pts: NDArray[np.int64], starts: list[tuple[int, int]], time_base: Fraction, start_s: float
) -> StartPoint:
    if len(all_pts) == 0:
        return BEGINNING
    ordered, highest = np.sort(all_pts), np.maximum.accumulate(all_pts)
    steps = np.diff(ordered)
    # the clock sets right what repeats or leaps
    is_uncertain = bool((steps == 0).any()) or bool((steps * float(time_base) > float(LEAP_S)).any())
    if is_uncertain or int((highest - all_pts).max()) * time_base > _MAX_REORDER_S:
        return BEGINNING
    zero_pts = int(ordered[0])
    for number, position in reversed(starts):
        pts = int(all_pts[position])
        is_early_enough = float((pts - zero_pts) * time_base) <= start_s
        is_after_all_before = position == 0 or int(highest[position - 1]) < pts
        if is_early_enough and is_after_all_before:
            return StartPoint(number, int(np.searchsorted(ordered, pts)), zero_pts, pts)
    return BEGINNING
