"""Scan orders of a (frames, height, width) block of tokens, as index tables.

Token index of (t, h, w) is ``(t * height + h) * width + w``. A table row lists token indices in the order in which a scan visits
them; every row is a permutation, so ``tokens[row]`` gathers a sequence and ``inverse_order`` scatters it back. The tables are cached
and read-only.

Letters: T frames, K directions (rows), L = T * height * width tokens.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from posecli.errors import ConfigError

ScanType = Literal["unified", "spatial", "temporal"]
Reading = Literal["R", "V"]
OrderTable = npt.NDArray[np.int32]

SCAN_TYPES: tuple[ScanType, ...] = ("unified", "spatial", "temporal")

# Axes of the (t, h, w) block, outermost loop first.
_LOOPS: dict[ScanType, tuple[int, int, int]] = {"unified": (1, 0, 2), "spatial": (0, 1, 2), "temporal": (1, 2, 0)}
_PANORAMA_COLUMNS = (0, 2, 1)


def global_orders(
    num_frames: int,
    height: int,
    width: int,
    *,
    types: tuple[ScanType, ...] = SCAN_TYPES,
    reading: Reading = "R",
) -> OrderTable:
    """Orders of the six-direction scan (or of the chosen types) over the whole block.

    Forward orders come first, in the order of ``types``, then their partners in the same order: with all three types the rows are
    y1..y6 of the paper. A partner is the exact reverse (reading "R"); in reading "V" the unified partner visits the panorama of
    side-by-side frames column by column instead (t, w, h).

    Args:
        num_frames: T.
        height: Token rows.
        width: Token columns.
        types: Scan types to keep, without repeats.
        reading: "R" or "V", see above.

    Returns:
        (2 * len(types), L) int32, read-only.

    Raises:
        ConfigError: A size below 1, an unknown or repeated type, or an unknown reading.
    """
    _check_sizes(num_frames, height, width)
    if not types or len(set(types)) != len(types) or any(name not in _LOOPS for name in types):
        raise ConfigError(
            f"scan types {tuple(types)!r} are not distinct members of {SCAN_TYPES}", "choose one to three of them"
        )
    if reading not in ("R", "V"):
        raise ConfigError(f"scan reading {reading!r} is unknown", "choose R or V")
    return _global_orders(num_frames, height, width, tuple(types), reading)


def window_orders(
    num_frames: int, height: int, width: int, window_hw: tuple[int, int] = (8, 6)
) -> tuple[OrderTable, int]:
    """Orders of the windowed scan: window row, window column, then t, h and w inside the window; and the reverse of it.

    Args:
        num_frames: T.
        height: Token rows, a multiple of the window's.
        width: Token columns, a multiple of the window's.
        window_hw: Window height and width in tokens.

    Returns:
        The (2, L) int32 read-only table, and the number of steps of one window, T * window height * window width: the ``seg_len``
        to pass to the scan when its state is to be reset at each window.

    Raises:
        ConfigError: A size below 1, or windows that do not tile the block.
    """
    window_h, window_w = window_hw
    _check_sizes(num_frames, height, width)
    _check_sizes(1, window_h, window_w)
    if height % window_h or width % window_w:
        raise ConfigError(
            f"windows of {window_h}x{window_w} tokens do not tile a grid of {height}x{width}",
            "pad the grid to a multiple of the window",
        )
    return _window_orders(num_frames, height, width, window_h, window_w), num_frames * window_h * window_w


def inverse_order(order: OrderTable) -> OrderTable:
    """Position of each token in each row: ``inverse[k, order[k, i]] == i``. Shapes (K, L) to (K, L)."""
    inverse = np.empty_like(order)
    steps = np.broadcast_to(np.arange(order.shape[1], dtype=np.int32), order.shape)
    np.put_along_axis(inverse, order.astype(np.int64), steps, axis=1)
    return inverse


def _check_sizes(num_frames: int, height: int, width: int) -> None:
    if min(num_frames, height, width) < 1:
        raise ConfigError(
            f"a block of {num_frames} frames of {height}x{width} tokens is empty", "every size must be 1 or more"
        )


def _tokens(num_frames: int, height: int, width: int) -> OrderTable:
    return np.arange(num_frames * height * width, dtype=np.int32).reshape(num_frames, height, width)


def _freeze(rows: list[OrderTable]) -> OrderTable:
    table = np.stack(rows)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=32)
def _global_orders(
    num_frames: int, height: int, width: int, types: tuple[ScanType, ...], reading: Reading
) -> OrderTable:
    tokens = _tokens(num_frames, height, width)
    forward = [tokens.transpose(_LOOPS[name]).reshape(-1) for name in types]
    partners = [row[::-1] for row in forward]
    if reading == "V" and "unified" in types:
        partners[types.index("unified")] = tokens.transpose(_PANORAMA_COLUMNS).reshape(-1)
    return _freeze(forward + partners)


@lru_cache(maxsize=32)
def _window_orders(num_frames: int, height: int, width: int, window_h: int, window_w: int) -> OrderTable:
    tokens = _tokens(num_frames, height, width)
    # (T, rows, h-in, columns, w-in) -> (rows, columns, T, h-in, w-in)
    tubes = tokens.reshape(num_frames, height // window_h, window_h, width // window_w, window_w)
    forward = tubes.transpose(1, 3, 0, 2, 4).reshape(-1)
    return _freeze([forward, forward[::-1]])
