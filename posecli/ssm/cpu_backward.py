"""Backward kernel of the selective scan.

Each row of the order is walked backwards tile by tile. The states inside a tile are recomputed from the one saved before it, and
the adjoint states g_t = exp(delta_(t+1) A) g_(t+1) + C_t dy_t are carried from tile to tile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from posecli.ssm.cpu_forward import PART, TILE, Block, count_tiles, proj_layout, saved_start
from posecli.ssm.simd import (
    LANES,
    add,
    dot_rows,
    exp2,
    fma,
    kernel,
    lane_sums,
    load,
    load_int,
    load_rows,
    mul,
    prefetch,
    routine,
    sigmoid,
    softplus,
    splat,
    splat_rows,
    store,
    store_first,
    store_rows,
    zero,
    zero_rows,
)

LN2 = np.float32(0.6931471805599453)  # the decay table holds A * log2(e)

# Scratch memory of a task: vectors of the current tile, 16 channels wide, then the adjoint states (D / num_groups, N).
DELTA, SLOPE, VALUE, UPSTREAM, BY_GAIN, BY_DELTA, ADJOINT = 0, PART, 2 * PART, 3 * PART, 4 * PART, 5 * PART, 6 * PART


class Gradients(NamedTuple):
    """Addresses of what the backward reads besides the inputs, then of what it writes; float32."""

    dy: int
    """(B, G, L, D)."""
    saved: int
    """(B, K, tiles, D / 16, N, 16)."""
    x: int
    """(B, L, D)."""
    proj: int
    """(num_groups, B, L, K, R + 2 N), one part for each group of channels."""
    dt_weight: int
    """(B, K, R, D), zero at the start, as all below."""
    dt_bias: int
    """(B, K, D)."""
    rate: int
    """(B, K, N, D), with respect to A."""
    skip: int
    """(B, G, D)."""


class Tape(NamedTuple):
    """Addresses of scratch memory for one tile of a task."""

    scratch: int
    history: int
    """(TILE + 1, num_states, 16) states before each step, and after the last."""
    factors: int
    """(TILE, num_states, 16) exp(delta * A)."""
    columns: int
    """(TILE, R + 2 N, 16) gradients of proj, lanes still to be added up."""


@register_jitable
def backward_scratch(sizes: Any) -> Any:
    """Floats of scratch memory that a task needs. ``lane_sums`` reads 16 rows at a time, so 16 follow the last column."""
    num_columns = sizes.rank + 2 * sizes.state_size
    states = sizes.width // sizes.num_groups * sizes.state_size
    return ADJOINT + states + ((2 * TILE + 1) * sizes.num_states + TILE * num_columns + LANES) * LANES


@routine
def lay_tape(start: int, sizes: Any) -> Any:
    """Cut the scratch memory of a task."""
    history = start + 4 * (ADJOINT + sizes.width // sizes.num_groups * sizes.state_size)
    factors = history + 4 * (TILE + 1) * sizes.num_states * LANES
    return Tape(start, history, factors, factors + 4 * TILE * sizes.num_states * LANES)


@routine
def gather_block(inputs: Any, dy: Any, sizes: Any, block: Any, ranks: Any, scratch: Any) -> None:
    """Collect delta, its slope, x and dy of a block in scratch."""
    x, proj, dt_weight, order, width = inputs.x, inputs.proj, inputs.dt_weight, inputs.order, sizes.width
    x_start = block.item * sizes.length * width + block.channel
    output = block.item * sizes.num_outputs + load_int(inputs.group, block.direction)
    dy_start = output * sizes.length * width + block.channel
    weight_start = block.direction * sizes.rank * width + block.channel
    proj_start, proj_step = proj_layout(sizes, block)
    bias = load(inputs.dt_bias, block.direction * width + block.channel)
    num_columns = sizes.rank + 2 * sizes.state_size
    for r in range(0, sizes.rank, sizes.num_ranks):
        weight = load_rows(ranks, dt_weight, weight_start + r * width, width)
        for i in range(block.num_steps):
            token, at = load_int(order, block.begin + i), i * LANES
            raw = bias if r == 0 else load(scratch, DELTA + at)
            raw = dot_rows(raw, weight, splat_rows(ranks, proj, proj_start + token * proj_step + r))
            later = load_int(order, max(block.begin - TILE + i, block.direction * sizes.length))
            prefetch(x, x_start + later * width)
            prefetch(dy, dy_start + later * width)
            prefetch(proj, proj_start + later * proj_step)
            prefetch(proj, proj_start + later * proj_step + num_columns - 1)
            if r + sizes.num_ranks == sizes.rank:
                store(scratch, SLOPE + at, sigmoid(raw))
                raw = softplus(raw)
                store(scratch, VALUE + at, load(x, x_start + token * width))
                store(scratch, UPSTREAM + at, load(dy, dy_start + token * width))
            store(scratch, DELTA + at, raw)


@routine
def replay(inputs: Any, saved: Any, sizes: Any, block: Any, n: int, states: Any, tape: Any) -> None:
    """Recompute the states from ``n`` on in a block: fills history and factors."""
    proj, order, scratch, history, factors = inputs.proj, inputs.order, tape.scratch, tape.history, tape.factors
    row = sizes.num_states * LANES
    proj_start, proj_step = proj_layout(sizes, block)
    h = load_rows(states, saved, saved_start(sizes, block) + n * LANES, LANES)
    rate_start = (block.direction * sizes.state_size + n) * sizes.width + block.channel
    rate = load_rows(states, inputs.decay, rate_start, sizes.width)
    store_rows(history, 0, LANES, h)
    for i in range(block.num_steps):
        at = proj_start + load_int(order, block.begin + i) * proj_step + sizes.rank + n
        delta = load(scratch, DELTA + i * LANES)
        factor = exp2(mul(delta, rate))
        h = fma(factor, h, mul(mul(delta, load(scratch, VALUE + i * LANES)), splat_rows(states, proj, at)))
        store_rows(factors, i * row, LANES, factor)
        store_rows(history, (i + 1) * row, LANES, h)


@routine
def retreat(inputs: Any, d_rate: Any, sizes: Any, block: Any, n: int, states: Any, tape: Any, adjoint: int) -> None:
    """Carry the adjoint states from ``n`` on, at ``adjoint`` in scratch, back through a block.

    Collects the gradients of delta and gain, of A, and the columns of B and C.
    """
    proj, order, scratch, history, sums = inputs.proj, inputs.order, tape.scratch, tape.history, tape.columns
    row, num_columns = sizes.num_states * LANES, sizes.rank + 2 * sizes.state_size
    proj_start, proj_step = proj_layout(sizes, block)
    rate_start = (block.direction * sizes.state_size + n) * sizes.width + block.channel
    rate = load_rows(states, inputs.decay, rate_start, sizes.width)
    g = load_rows(states, scratch, adjoint + n * LANES, LANES)
    rate_sum = zero_rows(states)
    for i in range(block.num_steps - 1, -1, -1):
        at = proj_start + load_int(order, block.begin + i) * proj_step + sizes.rank + n
        delta, dy = load(scratch, DELTA + i * LANES), load(scratch, UPSTREAM + i * LANES)
        drive = splat_rows(states, proj, at)
        g = fma(dy, splat_rows(states, proj, at + sizes.state_size), g)
        b_at = (i * num_columns + sizes.rank + n) * LANES
        c_at = b_at + sizes.state_size * LANES
        gain = mul(delta, load(scratch, VALUE + i * LANES))
        store_rows(sums, b_at, LANES, fma(g, gain, load_rows(states, sums, b_at, LANES)))
        after = load_rows(states, history, (i + 1) * row, LANES)
        store_rows(sums, c_at, LANES, fma(dy, after, load_rows(states, sums, c_at, LANES)))
        by_gain = zero() if n == 0 else load(scratch, BY_GAIN + i * LANES)
        by_delta = zero() if n == 0 else load(scratch, BY_DELTA + i * LANES)
        store(scratch, BY_GAIN + i * LANES, dot_rows(by_gain, g, drive))
        g = mul(g, load_rows(states, tape.factors, i * row, LANES))
        change = mul(g, load_rows(states, history, i * row, LANES))  # gradient of delta * A
        store(scratch, BY_DELTA + i * LANES, dot_rows(by_delta, rate, change))
        rate_sum = fma(delta, change, rate_sum)
    store_rows(scratch, adjoint + n * LANES, LANES, g)
    place = block.item * sizes.num_directions * sizes.state_size * sizes.width + rate_start
    store_rows(d_rate, place, sizes.width, add(rate_sum, load_rows(states, d_rate, place, sizes.width)))


@routine
def finish_values(inputs: Any, gradients: Any, sizes: Any, block: Any, scratch: Any) -> None:
    """Turn the gradients of delta and gain of a block into those of x, dt_bias and skip; leave d(raw step) in BY_DELTA."""
    dx, order, width, group = gradients.x, inputs.order, sizes.width, load_int(inputs.group, block.direction)
    owns_skip, opens_dx = load_int(inputs.is_first, block.direction) == 1, block.direction == 0
    x_start = block.item * sizes.length * width + block.channel
    skip = load(inputs.skip, group * width + block.channel)
    bias_sum, skip_sum, ln2 = zero(), zero(), splat(LN2)
    for i in range(block.num_steps):
        at, place = i * LANES, x_start + load_int(order, block.begin + i) * width
        value, by_gain, dy = load(scratch, VALUE + at), load(scratch, BY_GAIN + at), load(scratch, UPSTREAM + at)
        d_delta = fma(value, by_gain, mul(load(scratch, BY_DELTA + at), ln2))
        d_raw = mul(d_delta, load(scratch, SLOPE + at))
        store(scratch, BY_DELTA + at, d_raw)
        bias_sum = add(bias_sum, d_raw)
        d_value = mul(load(scratch, DELTA + at), by_gain)
        prefetch(dx, x_start + load_int(order, max(block.begin - TILE + i, block.direction * sizes.length)) * width)
        if not opens_dx:
            d_value = add(d_value, load(dx, place))
        if owns_skip:
            d_value = fma(skip, dy, d_value)
            skip_sum = fma(dy, value, skip_sum)
        store(dx, place, d_value)
    place = (block.item * sizes.num_directions + block.direction) * width + block.channel
    store(gradients.dt_bias, place, add(bias_sum, load(gradients.dt_bias, place)))
    if owns_skip:
        place = (block.item * sizes.num_outputs + group) * width + block.channel
        store(gradients.skip, place, add(skip_sum, load(gradients.skip, place)))


@routine
def finish_weights(inputs: Any, d_weight: Any, sizes: Any, block: Any, ranks: Any, tape: Any) -> None:
    """Turn d(raw step) of a block into the gradients of dt_weight and the columns of dt_low."""
    proj, order, scratch, sums, width = inputs.proj, inputs.order, tape.scratch, tape.columns, sizes.width
    num_columns = sizes.rank + 2 * sizes.state_size
    proj_start, proj_step = proj_layout(sizes, block)
    for r in range(0, sizes.rank, sizes.num_ranks):
        weight_start = (block.direction * sizes.rank + r) * width + block.channel
        place = block.item * sizes.num_directions * sizes.rank * width + weight_start
        weight = load_rows(ranks, inputs.dt_weight, weight_start, width)
        weight_sum = load_rows(ranks, d_weight, place, width)
        for i in range(block.num_steps):
            d_raw = load(scratch, BY_DELTA + i * LANES)
            at = (i * num_columns + r) * LANES
            store_rows(sums, at, LANES, fma(d_raw, weight, load_rows(ranks, sums, at, LANES)))
            low = splat_rows(ranks, proj, proj_start + load_int(order, block.begin + i) * proj_step + r)
            weight_sum = fma(d_raw, low, weight_sum)
        store_rows(d_weight, place, width, weight_sum)


@routine
def flush_columns(order: Any, sizes: Any, block: Any, columns: Any, d_proj: Any, part_start: int) -> None:
    """Add up the lanes of a tile's columns and write them to the gradient of proj."""
    num_columns = sizes.rank + 2 * sizes.state_size
    proj_start, proj_step = proj_layout(sizes, block)
    for i in range(block.num_steps):
        at = part_start + proj_start + load_int(order, block.begin + i) * proj_step
        for column in range(0, num_columns, LANES):
            sums = lane_sums(columns, (i * num_columns + column) * LANES)
            store_first(d_proj, at + column, sums, min(LANES, num_columns - column))


@routine
def backward_tile(
    inputs: Any, gradients: Any, sizes: Any, block: Any, states: Any, ranks: Any, tape: Any, part_start: int
) -> None:
    """All channels of a task back through one tile; ``block`` is its first."""
    num_columns = sizes.rank + 2 * sizes.state_size
    for place in range(0, block.num_steps * num_columns * LANES, LANES):
        store(tape.columns, place, zero())
    for c in range(0, sizes.width // sizes.num_groups, LANES):
        own = Block(block.item, block.direction, block.channel + c, block.begin, block.num_steps, block.tile)
        gather_block(inputs, gradients.dy, sizes, own, ranks, tape.scratch)
        for n in range(0, sizes.state_size, sizes.num_states):
            replay(inputs, gradients.saved, sizes, own, n, states, tape)
            retreat(inputs, gradients.rate, sizes, own, n, states, tape, ADJOINT + c * sizes.state_size)
        finish_values(inputs, gradients, sizes, own, tape.scratch)
        finish_weights(inputs, gradients.dt_weight, sizes, own, ranks, tape)
    flush_columns(inputs.order, sizes, block, tape.columns, gradients.proj, part_start)


@kernel
def scan_backward(
    inputs: Any,
    gradients: Any,
    sizes: Any,
    states: Any,
    ranks: Any,
    memory: int,
    num_tasks: int,
    task_begin: int,
    task_end: int,
) -> None:
    """Gradients of all directions of some tasks.

    Args:
        inputs: ``Inputs``.
        gradients: ``Gradients``.
        sizes: ``Sizes``.
        states: ``Rows(sizes.num_states)``.
        ranks: ``Rows(sizes.num_ranks)``.
        memory: Address of tasks times ``backward_scratch(sizes)`` floats of scratch memory.
        num_tasks: Of the whole batch.
        task_begin: First task.
        task_end: One after the last.
    """
    length, channels = sizes.length, sizes.width // sizes.num_groups
    num_tiles, tiles_per_segment = count_tiles(sizes)
    proj_row = sizes.num_directions * (sizes.rank + 2 * sizes.state_size)
    for task in range(task_begin, task_end):
        item, part = task // sizes.num_groups, task % sizes.num_groups
        part_start = part * (num_tasks // sizes.num_groups) * length * proj_row
        tape = lay_tape(memory + 4 * task * backward_scratch(sizes), sizes)
        for k in range(sizes.num_directions):
            tile = num_tiles
            for segment in range(length - sizes.seg_len, -1, -sizes.seg_len):
                for place in range(ADJOINT, ADJOINT + channels * sizes.state_size, LANES):
                    store(tape.scratch, place, zero())
                for position in range(tiles_per_segment - 1, -1, -1):
                    tile -= 1
                    t = segment + position * TILE
                    num_steps = min(TILE, segment + sizes.seg_len - t)
                    block = Block(item, k, part * channels, k * length + t, num_steps, tile)
                    backward_tile(inputs, gradients, sizes, block, states, ranks, tape, part_start)
