"""Scan orders: permutations, their relations, and where each token stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.ssm import global_orders, inverse_order, window_orders


def visited(order: np.ndarray, height: int, width: int) -> list[tuple[int, int, int]]:
    """The (t, h, w) of each step."""
    return [(int(i) // (height * width), int(i) // width % height, int(i) % width) for i in order]


@pytest.mark.parametrize("size", [(5, 64, 48), (3, 8, 6), (1, 5, 7), (1, 1, 1)])
@pytest.mark.parametrize("reading", ["R", "V"])
def test_each_row_is_a_permutation_with_its_inverse(size: tuple[int, int, int], reading: Any) -> None:
    orders = global_orders(*size, reading=reading)
    steps = np.arange(np.prod(size))
    assert orders.dtype == np.int32
    assert orders.shape == (6, len(steps))
    assert (np.sort(orders, axis=1) == steps).all()
    inverse = inverse_order(orders)
    assert (np.take_along_axis(inverse, orders.astype(np.int64), axis=1) == steps).all()
    assert (np.take_along_axis(orders, inverse.astype(np.int64), axis=1) == steps).all()


def test_the_six_orders_are_those_of_the_paper() -> None:
    frames, height, width = 2, 3, 4
    unified, spatial, temporal = (visited(row, height, width) for row in global_orders(frames, height, width)[:3])
    assert unified == [(t, h, w) for h in range(height) for t in range(frames) for w in range(width)]
    assert spatial == [(t, h, w) for t in range(frames) for h in range(height) for w in range(width)]
    assert temporal == [(t, h, w) for h in range(height) for w in range(width) for t in range(frames)]


def test_the_second_three_are_the_first_reversed() -> None:
    orders = global_orders(5, 6, 4)
    assert (orders[3:] == orders[:3, ::-1]).all()


def test_reading_v_visits_the_panorama_column_by_column() -> None:
    frames, height, width = 2, 3, 4
    orders = global_orders(frames, height, width, reading="V")
    assert visited(orders[3], height, width) == [
        (t, h, w) for t in range(frames) for w in range(width) for h in range(height)
    ]
    others = [0, 1, 2, 4, 5]
    assert (orders[others] == global_orders(frames, height, width)[others]).all()


def test_with_one_frame_all_three_types_coincide() -> None:
    orders = global_orders(1, 6, 5)
    assert (orders[0] == orders[1]).all()
    assert (orders[2] == np.arange(30)).all()


def test_a_subset_keeps_forward_orders_before_their_reverses() -> None:
    everything = global_orders(3, 4, 5)
    assert (global_orders(3, 4, 5, types=("unified", "temporal")) == everything[[0, 2, 3, 5]]).all()
    assert (global_orders(3, 4, 5, types=("spatial",)) == everything[[1, 4]]).all()


def test_window_positions_follow_the_formula() -> None:
    frames, height, width = 5, 64, 48
    orders, seg_len = window_orders(frames, height, width)
    assert seg_len == 240
    t, h, w = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    position = ((h // 8) * 8 + w // 6) * 240 + t * 48 + (h % 8) * 6 + w % 6
    assert (inverse_order(orders)[0].reshape(frames, height, width) == position).all()
    assert (orders[1] == orders[0, ::-1]).all()


def test_windows_must_tile_the_grid() -> None:
    with pytest.raises(ConfigError, match="windows of 8x6 tokens do not tile a grid of 64x50"):
        window_orders(5, 64, 50)


@pytest.mark.parametrize("types", [(), ("unified", "unified"), ("diagonal",)])
def test_unknown_types_are_refused(types: Any) -> None:
    with pytest.raises(ConfigError, match="scan types"):
        global_orders(1, 2, 3, types=types)


def test_unknown_readings_and_empty_blocks_are_refused() -> None:
    unknown: Any = "X"
    with pytest.raises(ConfigError, match="reading 'X'"):
        global_orders(1, 2, 3, reading=unknown)
    with pytest.raises(ConfigError, match="0 frames"):
        global_orders(0, 2, 3)


def test_tables_are_cached_and_cannot_be_changed() -> None:
    orders = global_orders(2, 3, 4)
    assert global_orders(2, 3, 4) is orders
    with pytest.raises(ValueError, match="read-only"):
        orders[0, 0] = 1
