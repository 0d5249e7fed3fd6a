"""Batches as large as memory allows: when it runs out, half as much is tried, and remembered."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import TypeVar

import cv2
import torch

from posecli.errors import DeviceError

T = TypeVar("T")
Spread = Callable[[Callable[[slice], T], list[slice]], Iterable[T]]

# what torch raises as plain RuntimeError: its allocators on Linux and Windows, CUDA's libraries, and oneDNN
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
    "could not create a primitive",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the machine or of the device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, cv2.error):
        # not by its attribute ``code``, which is the class's: that of the latest error of all
        return f"({cv2.Error.StsNoMem}:" in str(error)
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


class BatchSize:
    """How many items go into a network at once.

    Args:
        size: To begin with.
        what: The items, plural, for messages.

    Attributes:
        size: Now.
        is_alone: Whether batches go one after another, never side by side.
    """

    def __init__(self, size: int, *, what: str) -> None:
        self._planned = size
        self.size, self.what = size, what
        self.is_alone = False

    @property
    def notes(self) -> list[str]:
        """What was learnt about memory, if anything: one line."""
        if self.size < self._planned:
            return [f"memory ran out with larger batches: {self.size} {self.what} at a time instead of {self._planned}"]
        return [f"memory ran out: {self.what} went one after another, not side by side"] if self.is_alone else []

    def run(self, count: int, work: Callable[[slice], T], *, spread: Spread[T] | None = None) -> list[T]:
        """``work`` for ``count`` items in batches; when memory runs out, again with smaller ones from then on.

        Args:
            count: Items in all.
            work: Takes a range of items.
            spread: Does the work of several batches, perhaps side by side; as ``map``, which is the default.

        Returns:
            What ``work`` gave, batch by batch.

        Raises:
            DeviceError: Memory runs out even with one item alone.
        """
        while True:
            batches = [slice(start, min(start + self.size, count)) for start in range(0, count, self.size)]
            is_side_by_side = spread is not None and len(batches) > 1 and not self.is_alone
            try:
                return list(spread(work, batches) if spread is not None and not self.is_alone else map(work, batches))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())
            # outside the handler: the error holds on to every tensor of the calls it came through
            self._shrink(count, reason, is_side_by_side=is_side_by_side)

    def _shrink(self, count: int, reason: str, *, is_side_by_side: bool) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        largest = min(self.size, count)
        if largest > 1:
            self.size = largest // 2
        elif is_side_by_side:
            self.is_alone = True
        else:
            raise DeviceError(
                f"memory ran out with one of the {self.what}: {reason[:200]}",
                hint="close other programs, use smaller weights, or another --device",
            )
