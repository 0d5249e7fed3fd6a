"""The steps of `posecli.pose.fused` as numba kernels: float32, inference only, channels a multiple of 16.

Tokens are taken 16 at a time and stay in the first-level cache while mean, variance and result are worked out, in three readings
(a one-pass variance loses digits). Memory is given by address, see ``posecli.ssm.simd``. Work is cut the same way whatever the number
of threads, so results do not depend on it.

Legend: M tokens, E channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from posecli.ssm.simd import (
    LANES,
    Rows,
    add,
    dot_rows,
    fma,
    inverse_sqrt,
    kernel,
    lane_sums,
    load,
    load_float,
    load_rows,
    mul,
    routine,
    sigmoid,
    splat,
    store,
    zero_rows,
)
from posecli.ssm.threads import run_tasks

_TASK_TOKENS = 256
# A norm of fewer floats is done sooner than another thread wakes (measured: 0.1 ms of work, 0.15 ms to wake on a virtual machine).
_WORTH_WAKING = 1_500_000
# Scratch memory of a task: partial sums of 16 tokens, then minus their means and the inverse deviations, for two tensors.
_SUMS, _MAIN, _GATE = 0, LANES * LANES, LANES * LANES + 2 * LANES
_SCRATCH = _GATE + 2 * LANES
_KEY = Rows(1)  # every kernel takes one, see RowsType


class _Norm(NamedTuple):
    """Addresses of weight and bias (E,), and the epsilon."""

    weight: int
    bias: int
    eps: np.float32


class _Sizes(NamedTuple):
    num_tokens: int
    width: int
    share: np.float32
    """1 / width."""


class _Grid(NamedTuple):
    height: int
    columns: int
    width: int
    stride: int
    """Floats from one token of the input to the next."""
    has_silu: int


def layer_norm_cpu(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """As `posecli.pose.fused.layer_norm`."""
    out = torch.empty_like(x)
    sizes, scratch, num_tasks = _prepare(x)
    norm = _norm(weight, bias, eps)
    _run_norm(x, num_tasks, sizes, norm, _KEY, x.data_ptr(), 0, 0, out.data_ptr(), scratch.data_ptr())
    return out


def add_norm_cpu(x: Tensor, branch: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As `posecli.pose.fused.add_norm`."""
    total, out = torch.empty_like(x), torch.empty_like(x)
    sizes, scratch, num_tasks = _prepare(x)
    places = (x.data_ptr(), branch.data_ptr(), total.data_ptr(), out.data_ptr(), scratch.data_ptr())
    _run_norm(x, num_tasks, sizes, _norm(weight, bias, eps), _KEY, *places)
    return total, out


def _run_norm(x: Tensor, num_tasks: int, *arguments: object) -> None:
    if x.numel() < _WORTH_WAKING:
        _layer_norm(*arguments, 0, num_tasks)  # type: ignore[call-arg, arg-type]
    else:
        run_tasks(_layer_norm, num_tasks, *arguments)


def norm_gate_cpu(
    main: Tensor,
    gate: Tensor,
    main_weight: Tensor,
    main_bias: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    eps: float,
) -> Tensor:
    """As `posecli.pose.fused.norm_gate`."""
    out = torch.empty_like(main)
    sizes, scratch, num_tasks = _prepare(main)
    norms = _norm(main_weight, main_bias, eps), _norm(gate_weight, gate_bias, eps)
    places = (main.data_ptr(), gate.data_ptr(), out.data_ptr(), scratch.data_ptr())
    run_tasks(_norm_gate, num_tasks, sizes, *norms, _KEY, *places)
    return out


def depthwise_cpu(x: Tensor, weight: Tensor, bias: Tensor | None, *, has_silu: bool) -> Tensor:
    """As `posecli.pose.fused.depthwise`; weight (E, 1, 3, 3)."""
    batch, frames, height, columns, width = x.shape
    if x.stride()[:4] != _token_strides(x) or x.stride(4) != 1:
        x = x.contiguous()
    out = x.new_empty(x.shape)
    taps = weight.reshape(width, 9).T.contiguous()
    bias = x.new_zeros(width) if bias is None else bias.contiguous()
    grid = _Grid(height, columns, width, x.stride(3), int(has_silu))
    places = (x.data_ptr(), taps.data_ptr(), bias.data_ptr(), out.data_ptr())
    run_tasks(_depthwise, batch * frames * height, grid, Rows(3), *places)
    return out


def _token_strides(x: Tensor) -> tuple[int, ...]:
    step = x.stride(3)
    frame = x.shape[2] * x.shape[3] * step
    return (x.shape[1] * frame, frame, x.shape[3] * step, step)


def _prepare(x: Tensor) -> tuple[_Sizes, Tensor, int]:
    width = x.shape[-1]
    num_tokens = x.numel() // width
    num_tasks = -(-num_tokens // _TASK_TOKENS)
    return _Sizes(num_tokens, width, np.float32(1 / width)), x.new_empty(num_tasks, _SCRATCH), num_tasks


def _norm(weight: Tensor, bias: Tensor, eps: float) -> _Norm:
    return _Norm(weight.data_ptr(), bias.data_ptr(), np.float32(eps))


@routine
def _moments(sizes: Any, eps: Any, data: int, first: int, count: int, scratch: int, place: int) -> None:
    """Of ``count`` tokens from the float ``first`` on: minus the means at ``place`` in scratch, and 16 floats on, 1 / deviation."""
    width = sizes.width
    for i in range(count):
        at = first + i * width
        total = load(data, at)
        for c in range(LANES, width, LANES):
            total = add(total, load(data, at + c))
        store(scratch, _SUMS + i * LANES, total)
    store(scratch, place, mul(lane_sums(scratch, _SUMS), splat(-sizes.share)))
    for i in range(count):
        at = first + i * width
        shift = splat(load_float(scratch, place + i))
        off = add(load(data, at), shift)
        total = mul(off, off)
        for c in range(LANES, width, LANES):
            off = add(load(data, at + c), shift)
            total = fma(off, off, total)
        store(scratch, _SUMS + i * LANES, total)
    variance = mul(lane_sums(scratch, _SUMS), splat(sizes.share))
    store(scratch, place + LANES, inverse_sqrt(add(variance, splat(eps))))


@routine
def _normed(norm: Any, data: int, at: int, c: int, shift: Any, scale: Any) -> Any:
    return fma(mul(add(load(data, at + c), shift), scale), load(norm.weight, c), load(norm.bias, c))


@kernel
def _layer_norm(
    sizes: Any,
    norm: Any,
    key: Any,
    x: int,
    branch: int,
    total: int,
    out: int,
    memory: int,
    task_begin: int,
    task_end: int,
) -> None:
    """Norm of x, or with a branch (not 0): total = x + branch, and the norm of that. Tasks are 256 tokens."""
    width = sizes.width
    for task in range(task_begin, task_end):
        scratch = memory + 4 * task * _SCRATCH
        for begin in range(task * _TASK_TOKENS, min((task + 1) * _TASK_TOKENS, sizes.num_tokens), LANES):
            count, first, data = min(LANES, sizes.num_tokens - begin), begin * width, x
            if branch != 0:
                data = total
                for c in range(first, first + count * width, LANES):
                    store(total, c, add(load(x, c), load(branch, c)))
            _moments(sizes, norm.eps, data, first, count, scratch, _MAIN)
            for i in range(count):
                at = first + i * width
                shift, scale = splat(load_float(scratch, _MAIN + i)), splat(load_float(scratch, _MAIN + LANES + i))
                for c in range(0, width, LANES):
                    store(out, at + c, _normed(norm, data, at, c, shift, scale))


@kernel
def _norm_gate(
    sizes: Any,
    main_norm: Any,
    gate_norm: Any,
    key: Any,
    main: int,
    gate: int,
    out: int,
    memory: int,
    task_begin: int,
    task_end: int,
) -> None:
    """Tasks are 256 tokens."""
    width = sizes.width
    for task in range(task_begin, task_end):
        scratch = memory + 4 * task * _SCRATCH
        for begin in range(task * _TASK_TOKENS, min((task + 1) * _TASK_TOKENS, sizes.num_tokens), LANES):
            count, first = min(LANES, sizes.num_tokens - begin), begin * width
            _moments(sizes, main_norm.eps, main, first, count, scratch, _MAIN)
            _moments(sizes, gate_norm.eps, gate, first, count, scratch, _GATE)
            for i in range(count):
                at = first + i * width
                shift, scale = splat(load_float(scratch, _MAIN + i)), splat(load_float(scratch, _MAIN + LANES + i))
                low, high = splat(load_float(scratch, _GATE + i)), splat(load_float(scratch, _GATE + LANES + i))
                for c in range(0, width, LANES):
                    opening = _normed(gate_norm, gate, at, c, low, high)
                    opening = mul(opening, sigmoid(opening))
                    store(out, at + c, mul(_normed(main_norm, main, at, c, shift, scale), opening))


@routine
def _weights_of_row(three: Any, taps: int, at: int, width: int, is_inside: Any) -> Any:
    """Three taps in registers; zeros for a row outside the frame."""
    return load_rows(three, taps, at, width) if is_inside else zero_rows(three)


@routine
def _border(grid: Any, x: int, taps: int, acc: Any, at: int, tap: int, column: int) -> Any:
    """One row's part of a token of the first or last column, or of both."""
    acc = fma(load(taps, tap + grid.width), load(x, at), acc)
    if column > 0:
        acc = fma(load(taps, tap), load(x, at - grid.stride), acc)
    if column < grid.columns - 1:
        acc = fma(load(taps, tap + 2 * grid.width), load(x, at + grid.stride), acc)
    return acc


@routine
def _finish(grid: Any, out: int, place: int, acc: Any) -> None:
    if grid.has_silu == 1:
        acc = mul(acc, sigmoid(acc))
    store(out, place, acc)


@kernel
def _depthwise(grid: Any, three: Any, x: int, taps: int, bias: int, out: int, task_begin: int, task_end: int) -> None:
    """Tasks are rows of tokens of a frame; ``taps`` (9, E)."""
    stride, width, columns = grid.stride, grid.width, grid.columns
    for task in range(task_begin, task_end):
        y = task % grid.height
        has_above, has_below = y > 0, y < grid.height - 1
        middle = task * columns * stride
        above, below = middle - columns * stride * has_above, middle + columns * stride * has_below
        for c in range(0, width, LANES):
            start = load(bias, c)
            high = _weights_of_row(three, taps, c, width, has_above)
            level = _weights_of_row(three, taps, 3 * width + c, width, True)
            low = _weights_of_row(three, taps, 6 * width + c, width, has_below)
            for column in range(1, columns - 1):
                at = c + (column - 1) * stride
                acc = dot_rows(start, level, load_rows(three, x, middle + at, stride))
                acc = dot_rows(acc, high, load_rows(three, x, above + at, stride))
                acc = dot_rows(acc, low, load_rows(three, x, below + at, stride))
                _finish(grid, out, (task * columns + column) * width + c, acc)
            for column in range(0, columns, max(1, columns - 1)):
                at = c + column * stride
                acc = _border(grid, x, taps, start, middle + at, 3 * width + c, column)
                if has_above:
                    acc = _border(grid, x, taps, acc, above + at, c, column)
                if has_below:
                    acc = _border(grid, x, taps, acc, below + at, 6 * width + c, column)
                _finish(grid, out, (task * columns + column) * width + c, acc)
