"""One row per packet, in display order, whether it could be decoded or not.

Decoders drop what they cannot decode without a word, which would shift the number of every later frame. The ledger knows every
packet that went in, and puts an empty row where a picture never came out.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from av.video.frame import VideoFrame

# Decoders that have not learnt the reorder depth yet may swap their first pictures: wait for this many before giving one up.
_HOLD = 3
_MAX_REORDER = 32


@dataclass(frozen=True, slots=True)
class Row:
    """One picture to be shown: ``picture`` is ``None`` when its packet could not be decoded."""

    pts: int | None
    picture: VideoFrame | None


class Ledger(Protocol):
    """Packets in, rows out."""

    num_extra: int
    saw_error: bool

    def sent(self, number: int, pts: int | None) -> None:
        """Packet ``number`` goes to the decoder."""

    def decoded(self, number: int | None, picture: VideoFrame) -> None:
        """The decoder returned the picture of packet ``number`` (``None``: it does not say)."""

    def ready(self) -> Iterator[Row]:
        """The rows that are certain by now."""

    def missing(self) -> set[int]:
        """Packets whose picture has not come out yet."""

    def finish(self) -> Iterator[Row]:
        """All remaining rows; nothing more will be decoded."""


class TimestampLedger:
    """Rows in the order of their packets' timestamps.

    A timestamp that jumps back behind rows already given out (joined recordings) starts a new epoch: the packets after it
    come later, whatever their timestamps.
    """

    def __init__(self) -> None:
        self.num_extra = 0
        self.saw_error = False
        self._queue: list[tuple[int, int, int]] = []  # (epoch, timestamp, packet number)
        self._pts: dict[int, int | None] = {}
        self._pictures: dict[int, VideoFrame] = {}
        self._epoch = 0
        self._latest_key = 0
        self._last_given: tuple[int, int] | None = None
        self._interlaced: deque[int] = deque(maxlen=_MAX_REORDER)

    def sent(self, number: int, pts: int | None) -> None:
        """See `Ledger.sent`."""
        key = self._latest_key if pts is None else pts
        if self._last_given is not None and (self._epoch, key) < self._last_given:
            self._epoch += 1
        self._latest_key = key
        self._pts[number] = pts
        heapq.heappush(self._queue, (self._epoch, key, number))

    def decoded(self, number: int | None, picture: VideoFrame) -> None:
        """See `Ledger.decoded`."""
        if number is None:
            number = self._match(picture.pts)
        if number is None or number not in self._pts or number in self._pictures:
            self.num_extra += 1
            return
        if picture.interlaced_frame:
            self._interlaced.append(number)
        self._pictures[number] = picture

    def _match(self, pts: int | None) -> int | None:
        waiting = [entry for entry in sorted(self._queue) if entry[2] not in self._pictures]
        return next((number for _, key, number in waiting if key == pts), waiting[0][2] if waiting else None)

    def ready(self) -> Iterator[Row]:
        """See `Ledger.ready`."""
        while self._queue and (self._queue[0][2] in self._pictures or len(self._pictures) >= _HOLD):
            yield from self._give()

    def missing(self) -> set[int]:
        """See `Ledger.missing`."""
        return set(self._pts) - set(self._pictures)

    def finish(self) -> Iterator[Row]:
        """See `Ledger.finish`."""
        while self._queue:
            yield from self._give()

    def _give(self) -> Iterator[Row]:
        epoch, key, number = heapq.heappop(self._queue)
        pts, picture = self._pts.pop(number), self._pictures.pop(number, None)
        if picture is None and not self.saw_error and number - 1 in self._interlaced:
            return  # The second field of an interlaced picture: its packet was used, both fields came out as one.
        self._last_given = (epoch, key)
        yield Row(pts, picture)


class OrderLedger:
    """Rows in the order in which the decoder gives the pictures, for files without usable timestamps (raw H.264, AVI).

    The k-th picture gets the k-th smallest timestamp, if there are any. A lost picture's row comes at the latest
    ``reorder`` packets late, so the count is right after that.

    Args:
        reorder: How many packets later than its turn a picture may come out.
    """

    def __init__(self, reorder: int = _MAX_REORDER) -> None:
        self.num_extra = 0
        self._reorder = reorder
        self.saw_error = False
        self._waiting: deque[int] = deque()
        self._timestamps: list[int] = []
        self._pictures: deque[VideoFrame] = deque()
        self._newest = 0

    def sent(self, number: int, pts: int | None) -> None:
        """See `Ledger.sent`."""
        self._waiting.append(number)
        if pts is not None:
            heapq.heappush(self._timestamps, pts)

    def decoded(self, number: int | None, picture: VideoFrame) -> None:
        """See `Ledger.decoded`."""
        if number is None and self._waiting:
            number = self._waiting[0]
        if number is None or number not in self._waiting:
            self.num_extra += 1
            return
        self._waiting.remove(number)
        self._newest = max(self._newest, number)
        self._pictures.append(picture)

    def ready(self) -> Iterator[Row]:
        """See `Ledger.ready`."""
        while self._pictures:
            while self._waiting and self._waiting[0] < self._newest - self._reorder:
                self._waiting.popleft()
                yield Row(self._next_timestamp(), None)
            yield Row(self._next_timestamp(), self._pictures.popleft())

    def missing(self) -> set[int]:
        """See `Ledger.missing`."""
        return set(self._waiting)

    def finish(self) -> Iterator[Row]:
        """See `Ledger.finish`."""
        yield from self.ready()
        for _ in range(len(self._waiting)):
            yield Row(self._next_timestamp(), None)
        self._waiting.clear()

    def _next_timestamp(self) -> int | None:
        return heapq.heappop(self._timestamps) if self._timestamps else None
