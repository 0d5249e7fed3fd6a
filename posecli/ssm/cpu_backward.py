"""Backward kernel of the selective scan.

Arrays are flat; shapes as in ``cpu_forward.py``, and for the gradients (P = number of channel groups, B = batch):

    dy (B, G, L, D)   dx (B, L, D)   dproj (P, B, L, K, Q) one part per channel group   d_weight (B, K, R, D)   d_bias (B, K, D)
    d_rate (B, K, N, D) with respect to A   d_skip (B, G, D)

Each row of the order is walked backwards tile by tile. The states inside a tile are recomputed from the one saved before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from posecli.ssm.cpu_forward import TILE, prefetch_tile
from posecli.ssm.simd import (
    LANES,
    add,
    aligned,
    dot_rows,
    exp2,
    fma,
    kernel,
    lane_sums,
    load,
    load_rows,
    mul,
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

LN2 = np.float32(0.6931471805599453)  # the forward kernel's decay table holds A * log2(e)


@kernel
def gather_tile(
    x: Any,
    dy: Any,
    proj: Any,
    dt_weight: Any,
    dt_bias: Any,
    tokens: Any,
    starts: Any,
    sizes: Any,
    ranks: Any,
    num_ranks: int,
    scratch: Any,
) -> None:
    """Collect delta, its slope, x and dy of one tile and 16 channels in the first four parts of ``scratch``.

    starts: of x, dy, proj, dt_weight and dt_bias; sizes: R, D, floats from token to token of proj.
    """
    delta, slope, inputs, upstream, _, _ = scratch
    x_start, dy_start, proj_start, weight_start, bias_start = starts
    rank, width, proj_row = sizes
    for r in range(0, rank, num_ranks):
        weight = load_rows(ranks, dt_weight, weight_start + r * width, width)
        bias = load(dt_bias, bias_start)
        for i in range(len(tokens)):
            token = np.int64(tokens[i])
            raw = bias if r == 0 else load(delta, i * LANES)
            raw = dot_rows(raw, weight, splat_rows(ranks, proj, proj_start + token * proj_row + r))
            if r + num_ranks == rank:
                store(slope, i * LANES, sigmoid(raw))
                raw = softplus(raw)
                store(inputs, i * LANES, load(x, x_start + token * width))
                store(upstream, i * LANES, load(dy, dy_start + token * width))
            store(delta, i * LANES, raw)


@kernel
def replay(
    proj: Any,
    decay: Any,
    tokens: Any,
    starts: Any,
    sizes: Any,
    states: Any,
    num_states: int,
    scratch: Any,
    before: Any,
    history: Any,
    factors: Any,
) -> None:
    """Recompute a block of states: history gets the one before each step and the last one, factors exp(delta * A).

    starts: of B in proj, decay and the block in ``before``; sizes: D, floats from token to token of proj.
    """
    delta, _, inputs, _, _, _ = scratch
    proj_start, decay_start, state_start = starts
    width, proj_row = sizes
    h = load_rows(states, before, state_start, LANES)
    rate = load_rows(states, decay, decay_start, width)
    store_rows(history, 0, LANES, h)
    for i in range(len(tokens)):
        step = load(delta, i * LANES)
        factor = exp2(mul(step, rate))
        drive = splat_rows(states, proj, proj_start + np.int64(tokens[i]) * proj_row)
        h = fma(factor, h, mul(mul(step, load(inputs, i * LANES)), drive))
        store_rows(factors, i * num_states * LANES, LANES, factor)
        store_rows(history, (i + 1) * num_states * LANES, LANES, h)


@kernel
def retreat(
    proj: Any,
    decay: Any,
    d_rate: Any,
    tokens: Any,
    starts: Any,
    sizes: Any,
    states: Any,
    num_states: int,
    scratch: Any,
    adjoint: Any,
    history: Any,
    factors: Any,
    column_sums: Any,
) -> None:
    """Carry a block of adjoint states back through the tile; collect d(delta), d(gain), dA and the columns of dB and dC.

    starts: of B in proj, decay, d_rate, and the first state of the block; sizes: N, D, floats from token to token of proj, R.
    """
    delta, _, inputs, upstream, by_gain, by_delta = scratch
    proj_start, decay_start, d_rate_start, n = starts
    state_size, width, proj_row, rank = sizes
    columns = rank + 2 * state_size
    g = load_rows(states, adjoint, n * LANES, LANES)
    rate = load_rows(states, decay, decay_start, width)
    gathered = zero_rows(states)
    for i in range(len(tokens) - 1, -1, -1):
        at = proj_start + np.int64(tokens[i]) * proj_row
        step, dy = load(delta, i * LANES), load(upstream, i * LANES)
        drive = splat_rows(states, proj, at)
        g = fma(dy, splat_rows(states, proj, at + state_size), g)
        place = (i * columns + rank + n) * LANES
        store_rows(
            column_sums,
            place,
            LANES,
            fma(g, mul(step, load(inputs, i * LANES)), load_rows(states, column_sums, place, LANES)),
        )
        place += state_size * LANES
        after = load_rows(states, history, (i + 1) * num_states * LANES, LANES)
        store_rows(column_sums, place, LANES, fma(dy, after, load_rows(states, column_sums, place, LANES)))
        gain_part, delta_part = zero(), zero()
        if n > 0:
            gain_part, delta_part = load(by_gain, i * LANES), load(by_delta, i * LANES)
        store(by_gain, i * LANES, dot_rows(gain_part, g, drive))
        g = mul(g, load_rows(states, factors, i * num_states * LANES, LANES))
        change = mul(g, load_rows(states, history, i * num_states * LANES, LANES))
        store(by_delta, i * LANES, dot_rows(delta_part, rate, change))
        gathered = fma(step, change, gathered)
    store_rows(adjoint, n * LANES, LANES, g)
    store_rows(d_rate, d_rate_start, width, add(gathered, load_rows(states, d_rate, d_rate_start, width)))


@kernel
def finish_tile(
    proj: Any,
    dt_weight: Any,
    skip: Any,
    tokens: Any,
    starts: Any,
    sizes: Any,
    ranks: Any,
    num_ranks: int,
    is_first: bool,
    is_opening: bool,
    scratch: Any,
    column_sums: Any,
    dx: Any,
    d_weight: Any,
    d_bias: Any,
    d_skip: Any,
) -> None:
    """From d(delta) and d(gain) of a tile to dx, d(dt_low), d(dt_weight), d(dt_bias) and d(skip).

    starts: of dx, proj, dt_weight, skip, d_weight, d_bias and d_skip; sizes: R, D, floats from token to token of proj, Q.
    is_first: the skip term belongs to this direction; is_opening: this direction writes dx, later ones add to it.
    """
    delta, slope, inputs, upstream, by_gain, by_delta = scratch
    x_start, proj_start, weight_start, skip_start, d_weight_start, d_bias_start, d_skip_start = starts
    rank, width, proj_row, columns = sizes
    bias_sum, skip_sum, direct, ln2 = zero(), zero(), load(skip, skip_start), splat(LN2)
    for i in range(len(tokens)):
        at = x_start + np.int64(tokens[i]) * width
        value, dy, by_product = load(inputs, i * LANES), load(upstream, i * LANES), load(by_gain, i * LANES)
        d_raw = mul(fma(value, by_product, mul(load(by_delta, i * LANES), ln2)), load(slope, i * LANES))
        store(by_delta, i * LANES, d_raw)
        bias_sum = add(bias_sum, d_raw)
        d_value = mul(load(delta, i * LANES), by_product)
        if not is_opening:
            d_value = add(d_value, load(dx, at))
        if is_first:
            d_value = fma(direct, dy, d_value)
            skip_sum = fma(dy, value, skip_sum)
        store(dx, at, d_value)
    store(d_bias, d_bias_start, add(bias_sum, load(d_bias, d_bias_start)))
    if is_first:
        store(d_skip, d_skip_start, add(skip_sum, load(d_skip, d_skip_start)))
    for r in range(0, rank, num_ranks):
        weight = load_rows(ranks, dt_weight, weight_start + r * width, width)
        weight_sum = load_rows(ranks, d_weight, d_weight_start + r * width, width)
        for i in range(len(tokens)):
            d_raw = load(by_delta, i * LANES)
            place = (i * columns + r) * LANES
            store_rows(column_sums, place, LANES, fma(d_raw, weight, load_rows(ranks, column_sums, place, LANES)))
            low = splat_rows(ranks, proj, proj_start + np.int64(tokens[i]) * proj_row + r)
            weight_sum = fma(d_raw, low, weight_sum)
        store_rows(d_weight, d_weight_start + r * width, width, weight_sum)


@kernel
def flush_columns(column_sums: Any, tokens: Any, dproj: Any, start: int, proj_row: int, columns: int) -> None:
    """Add up the lanes of the tile's column sums and write them to dproj."""
    for i in range(len(tokens)):
        at = start + np.int64(tokens[i]) * proj_row
        for column in range(0, columns, LANES):
            sums = lane_sums(column_sums, (i * columns + column) * LANES)
            store_first(dproj, at + column, sums, min(LANES, columns - column))


@kernel
def scan_backward(
    dy: Any,
    x: Any,
    proj: Any,
    dt_weight: Any,
    dt_bias: Any,
    decay: Any,
    skip: Any,
    order: Any,
    slot: Any,
    first: Any,
    saved: Any,
    dx: Any,
    dproj: Any,
    d_weight: Any,
    d_bias: Any,
    d_rate: Any,
    d_skip: Any,
    sizes: Any,
    states: Any,
    ranks: Any,
    num_groups: int,
    task_begin: int,
    task_end: int,
) -> None:
    """Gradients of all directions of the tasks' channels; tasks and sizes as in ``scan_forward``."""
    length, width, directions, state_size, rank, slots, segment, num_states, num_ranks = sizes
    columns = rank + 2 * state_size
    proj_row = directions * columns
    channels = width // num_groups
    num_batch = dproj.size // (num_groups * length * proj_row)
    tiles_per_segment = (segment + TILE - 1) // TILE
    num_tiles = (length // segment) * tiles_per_segment
    part = TILE * LANES
    scratch = (aligned(part), aligned(part), aligned(part), aligned(part), aligned(part), aligned(part))
    history, factors = aligned((TILE + 1) * num_states * LANES), aligned(TILE * num_states * LANES)
    adjoint = aligned(channels * state_size)
    column_sums = aligned((TILE * columns + LANES) * LANES)
    for task in range(task_begin, task_end):
        item, group = task // num_groups, task % num_groups
        c0 = group * channels
        for k in range(directions):
            tile = num_tiles
            x_start = item * length * width + c0
            dy_start = (item * slots + slot[k]) * length * width + c0
            proj_start = (item * length * directions + k) * columns
            dproj_start = ((group * num_batch + item) * length * directions + k) * columns
            for segment_start in range(length - segment, -1, -segment):
                adjoint[:] = np.float32(0.0)
                for position in range(tiles_per_segment - 1, -1, -1):
                    tile -= 1
                    t = segment_start + position * TILE
                    stop = min(t + TILE, segment_start + segment)
                    tokens = order[k * length + t : k * length + stop]
                    ahead = order[k * length + max(t - TILE, 0) : k * length + t]
                    prefetch_tile(
                        x, dx, proj, ahead, x_start, x_start, proj_start, (width, channels), (proj_row, columns)
                    )
                    prefetch_tile(dy, dy, proj, ahead, dy_start, dy_start, proj_start, (width, channels), (proj_row, 0))
                    column_sums[:] = np.float32(0.0)
                    for c in range(0, channels, LANES):
                        channel = c0 + c
                        own = adjoint[c * state_size : (c + LANES) * state_size]
                        place = (((item * directions + k) * num_tiles + tile) * width + channel) * state_size
                        before = saved[place : place + LANES * state_size]
                        weight_start, bias_start = k * rank * width + channel, k * width + channel
                        starts = (x_start + c, dy_start + c, proj_start, weight_start, bias_start)
                        gather_tile(
                            x,
                            dy,
                            proj,
                            dt_weight,
                            dt_bias,
                            tokens,
                            starts,
                            (rank, width, proj_row),
                            ranks,
                            num_ranks,
                            scratch,
                        )
                        for n in range(0, state_size, num_states):
                            b_start, rate_start = proj_start + rank + n, (k * state_size + n) * width + channel
                            replay(
                                proj,
                                decay,
                                tokens,
                                (b_start, rate_start, n * LANES),
                                (width, proj_row),
                                states,
                                num_states,
                                scratch,
                                before,
                                history,
                                factors,
                            )
                            places = (b_start, rate_start, item * directions * state_size * width + rate_start, n)
                            retreat(
                                proj,
                                decay,
                                d_rate,
                                tokens,
                                places,
                                (state_size, width, proj_row, rank),
                                states,
                                num_states,
                                scratch,
                                own,
                                history,
                                factors,
                                column_sums,
                            )
                        ends = (
                            x_start + c,
                            proj_start,
                            weight_start,
                            slot[k] * width + channel,
                            item * directions * rank * width + weight_start,
                            item * directions * width + bias_start,
                            (item * slots + slot[k]) * width + channel,
                        )
                        finish_tile(
                            proj,
                            dt_weight,
                            skip,
                            tokens,
                            ends,
                            (rank, width, proj_row, columns),
                            ranks,
                            num_ranks,
                            first[k] == 1,
                            k == 0,
                            scratch,
                            column_sums,
                            dx,
                            d_weight,
                            d_bias,
                            d_skip,
                        )
                    flush_columns(column_sums, tokens, dproj, dproj_start, proj_row, columns)
