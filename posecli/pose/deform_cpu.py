"""Deformable sampling on a CPU: numba kernels, forward and backward; the definition is `posecli.pose.deform.deform_reference`.

Where the corners of a tap lie, and their bilinear shares, is worked out once per position and used for all frames and channels.
Channels lie side by side in memory and are taken 16 to a vector. Memory is given by address, see ``posecli.ssm.simd``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from posecli.ssm.simd import (
    LANES,
    Rows,
    dot_rows,
    fma,
    kernel,
    lane_sums,
    load,
    load_float,
    load_int,
    load_rows,
    mul,
    routine,
    splat,
    store,
    store_float,
    store_int,
    store_rows,
    zero,
    zero_rows,
)
from posecli.ssm.threads import run_tasks

_TAPS = 9
_CORNERS = 4 * _TAPS
_MAX_ROWS = 4  # vectors of a cell held in registers at a time
_BACKWARD_TASKS = 4  # wanted; fixed, so that results do not depend on the number of threads

# Scratch memory of a task. Per corner: flat cell, bilinear share (0 outside the map), share * mask. Per tap: fractions of y and x.
_CELL, _SHARE, _PART, _FRACTION_Y, _FRACTION_X = 0, 48, 96, 144, 160
# Per tap: how many corners count, and these in front of the list. Per corner: gradient of the sample, 16 lanes still to be added up.
_COUNT, _DOTS, _SUMS = 176, 192, 192 + 48 * LANES
_SCRATCH = _SUMS + 48


class _Maps(NamedTuple):
    """Addresses of value (B, T, H, W, C), offsets (B, H, W, 9, 2), masks (B, H, W, 9), weight (9, C)."""

    value: int
    offsets: int
    masks: int
    weight: int


class _Gradients(NamedTuple):
    """Addresses of the upstream (B, T, H, W, C), read, and of what is written, zero at the start; P parts of the frames."""

    upstream: int
    value: int
    """(B, T, H, W, C)."""
    offsets: int
    """(P, B, H, W, 9, 2)."""
    masks: int
    """(P, B, H, W, 9)."""
    weight: int
    """(P, B, 9, C)."""


class _Sizes(NamedTuple):
    batch: int
    frames: int
    height: int
    width: int
    channels: int
    num_rows: int
    """Vectors taken at a time, a divisor of channels / 16."""
    num_parts: int
    """Parts into which the frames are cut in the backward, a divisor of the frames."""


def deform_cpu(value: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor) -> Tensor:
    """As `posecli.pose.deform.deform_sample`; float32 on the CPU, C a multiple of 16."""
    result: Tensor = _Deform.apply(value, offsets, masks, weight)  # type: ignore[no-untyped-call]
    return result


class _Deform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor) -> Tensor:
        tensors = [tensor.contiguous() for tensor in (value, offsets, masks, weight)]
        sizes = _sizes(value)
        out = torch.empty_like(tensors[0])
        num_tasks = sizes.batch * sizes.height
        scratch = value.new_empty(num_tasks, _SCRATCH)
        maps = _addresses(_Maps, tensors)
        run_tasks(_forward, num_tasks, maps, sizes, Rows(sizes.num_rows), out.data_ptr(), scratch.data_ptr())
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
        value, offsets, masks, weight = ctx.saved_tensors
        sizes = _sizes(value)
        d_value = torch.zeros_like(value)
        parts = [value.new_zeros(sizes.num_parts, *tensor.shape) for tensor in (offsets, masks)]
        d_weight = value.new_zeros(sizes.num_parts * sizes.batch, *weight.shape)
        read = [value, offsets, masks, weight]
        written = [upstream[0].contiguous(), d_value, *parts, d_weight]
        num_tasks = sizes.batch * sizes.num_parts
        scratch = value.new_empty(num_tasks, _SCRATCH)
        addresses = _addresses(_Maps, read), _addresses(_Gradients, written)
        run_tasks(_backward, num_tasks, *addresses, sizes, Rows(sizes.num_rows), scratch.data_ptr())
        return d_value, parts[0].sum(0), parts[1].sum(0), d_weight.sum(0)


def _sizes(value: Tensor) -> _Sizes:
    batch, frames, height, width, channels = value.shape
    vectors = channels // LANES
    num_rows = next(rows for rows in range(min(vectors, _MAX_ROWS), 0, -1) if vectors % rows == 0)
    wanted = min(frames, -(-_BACKWARD_TASKS // batch))
    num_parts = next(parts for parts in range(wanted, frames + 1) if frames % parts == 0)
    return _Sizes(batch, frames, height, width, channels, num_rows, num_parts)


def _addresses(kind: Callable[..., Any], tensors: list[Tensor]) -> Any:
    """Where contiguous tensors lie. The caller must hold on to them."""
    return kind(*(tensor.data_ptr() for tensor in tensors))


@routine
def _place_corners(maps: Any, sizes: Any, position: int, y: int, x: int, tap: int, scratch: int) -> None:
    """Cell, share and share * mask of a tap's four corners, and the fractions; ``position`` is (b, y, x) as one number."""
    place = position * _TAPS + tap
    shift_y, shift_x = load_float(maps.offsets, 2 * place), load_float(maps.offsets, 2 * place + 1)
    floor_y, floor_x = np.float32(math.floor(shift_y)), np.float32(math.floor(shift_x))
    # only the offset is split, not the position: more digits are left for the fraction
    fraction_y, fraction_x = shift_y - floor_y, shift_x - floor_x
    row, column = np.float32(y + tap // 3 - 1) + floor_y, np.float32(x + tap % 3 - 1) + floor_x
    store_float(scratch, _FRACTION_Y + tap, fraction_y)
    store_float(scratch, _FRACTION_X + tap, fraction_x)
    mask = load_float(maps.masks, place)
    for corner in range(4):
        down, right = corner // 2, corner % 2
        at_y, at_x = row + np.float32(down), column + np.float32(right)
        is_inside = at_y >= 0 and at_y < sizes.height and at_x >= 0 and at_x < sizes.width
        share = fraction_y if down else np.float32(1) - fraction_y
        share *= fraction_x if right else np.float32(1) - fraction_x
        cell = 0
        if is_inside:
            cell = int(at_y) * sizes.width + int(at_x)
        elif share == share:
            share = np.float32(0)  # but NaN stays: an offset that is none must show
        store_int(scratch, _CELL + 4 * tap + corner, cell if is_inside else -1)
        store_float(scratch, _SHARE + 4 * tap + corner, share)
        store_float(scratch, _PART + 4 * tap + corner, share * mask)


@routine
def _keep_counting_corners(tap: int, scratch: int) -> None:
    """Move the corners whose part is not 0 to the front of their tap's list."""
    count = 0
    for corner in range(4 * tap, 4 * tap + 4):
        part = load_float(scratch, _PART + corner)
        if part != 0:
            store_int(scratch, _CELL + 4 * tap + count, max(load_int(scratch, _CELL + corner), 0))
            store_float(scratch, _PART + 4 * tap + count, part)
            count += 1
    store_int(scratch, _COUNT + tap, count)


@routine
def _sum_taps(maps: Any, sizes: Any, plane: int, c: int, rows: Any, scratch: int) -> Any:
    """The weighted sum of all taps of a position: one frame, which begins at ``plane`` in value, and channels from ``c`` on."""
    total = zero_rows(rows)
    for tap in range(_TAPS):
        count = load_int(scratch, _COUNT + tap)
        if count > 0:
            sampled = zero_rows(rows)
            for i in range(4 * tap, 4 * tap + count):
                cell = load_rows(rows, maps.value, plane + load_int(scratch, _CELL + i) * sizes.channels + c, LANES)
                sampled = fma(splat(load_float(scratch, _PART + i)), cell, sampled)
            total = fma(load_rows(rows, maps.weight, tap * sizes.channels + c, LANES), sampled, total)
    return total


@kernel
def _forward(maps: Any, sizes: Any, rows: Any, out: int, memory: int, task_begin: int, task_end: int) -> None:
    """Tasks are rows (b, y)."""
    for task in range(task_begin, task_end):
        item, y = task // sizes.height, task % sizes.height
        scratch = memory + 4 * task * _SCRATCH
        for x in range(sizes.width):
            for tap in range(_TAPS):
                _place_corners(maps, sizes, task * sizes.width + x, y, x, tap, scratch)
                _keep_counting_corners(tap, scratch)
            for t in range(sizes.frames):
                plane = (item * sizes.frames + t) * sizes.height * sizes.width * sizes.channels
                for c in range(0, sizes.channels, sizes.num_rows * LANES):
                    at = plane + (y * sizes.width + x) * sizes.channels + c
                    store_rows(out, at, LANES, _sum_taps(maps, sizes, plane, c, rows, scratch))


@routine
def _pull_tap(
    maps: Any, gradients: Any, sizes: Any, task: int, at: int, plane: int, tap: int, rows: Any, scratch: int
) -> None:
    """Gradients of one tap of a position in one frame: of value and weight, and the lanes of that of each corner's share.

    at: the position's first channel in the upstream; plane: the frame's beginning in value.
    """
    first = 4 * tap
    for c in range(0, sizes.channels, sizes.num_rows * LANES):
        upstream = load_rows(rows, gradients.upstream, at + c, LANES)
        flow = mul(upstream, load_rows(rows, maps.weight, tap * sizes.channels + c, LANES))
        sampled = zero_rows(rows)
        for corner in range(first, first + 4):
            cell = load_int(scratch, _CELL + corner)
            if cell >= 0:
                place = plane + cell * sizes.channels + c
                value = load_rows(rows, maps.value, place, LANES)
                dots = _DOTS + corner * LANES
                store(scratch, dots, dot_rows(load(scratch, dots), flow, value))
                part = load_float(scratch, _PART + corner)
                if part != 0:
                    sampled = fma(splat(part), value, sampled)
                    d_value = load_rows(rows, gradients.value, place, LANES)
                    store_rows(gradients.value, place, LANES, fma(splat(part), flow, d_value))
        place = (task * _TAPS + tap) * sizes.channels + c
        d_weight = load_rows(rows, gradients.weight, place, LANES)
        store_rows(gradients.weight, place, LANES, fma(upstream, sampled, d_weight))


@routine
def _pull_shares(maps: Any, gradients: Any, task: int, position: int, place: int, scratch: int) -> None:
    """From the gradients of the shares to those of masks and offsets of a position, at ``place`` among those of all parts."""
    for corner in range(0, 48, LANES):
        store(scratch, _SUMS + corner, lane_sums(scratch, _DOTS + corner * LANES))
    for tap in range(_TAPS):
        sums, share = _SUMS + 4 * tap, _SHARE + 4 * tap
        a, b = load_float(scratch, sums), load_float(scratch, sums + 1)
        c, d = load_float(scratch, sums + 2), load_float(scratch, sums + 3)
        fy, fx = load_float(scratch, _FRACTION_Y + tap), load_float(scratch, _FRACTION_X + tap)
        upper = load_float(scratch, share) * a + load_float(scratch, share + 1) * b
        lower = load_float(scratch, share + 2) * c + load_float(scratch, share + 3) * d
        store_float(gradients.masks, place * _TAPS + tap, upper + lower)
        mask, one = load_float(maps.masks, position * _TAPS + tap), np.float32(1)
        store_float(gradients.offsets, 2 * (place * _TAPS + tap), mask * ((one - fx) * (c - a) + fx * (d - b)))
        store_float(gradients.offsets, 2 * (place * _TAPS + tap) + 1, mask * ((one - fy) * (b - a) + fy * (d - c)))


@kernel
def _backward(maps: Any, gradients: Any, sizes: Any, rows: Any, memory: int, task_begin: int, task_end: int) -> None:
    """Tasks are (part of the frames, b): no two of them write to the same cell."""
    frames, area = sizes.frames // sizes.num_parts, sizes.height * sizes.width
    for task in range(task_begin, task_end):
        part, item = task // sizes.batch, task % sizes.batch
        scratch = memory + 4 * task * _SCRATCH
        for y in range(sizes.height):
            for x in range(sizes.width):
                position = (item * sizes.height + y) * sizes.width + x
                for corner in range(48):
                    store(scratch, _DOTS + corner * LANES, zero())
                for tap in range(_TAPS):
                    _place_corners(maps, sizes, position, y, x, tap, scratch)
                    for t in range(part * frames, (part + 1) * frames):
                        plane = (item * sizes.frames + t) * area * sizes.channels
                        at = plane + (y * sizes.width + x) * sizes.channels
                        _pull_tap(maps, gradients, sizes, task, at, plane, tap, rows, scratch)
                _pull_shares(maps, gradients, task, position, part * sizes.batch * area + position, scratch)
