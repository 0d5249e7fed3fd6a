"""Forward kernel of the selective scan.

All arrays are flat; the shapes they stand for (letters as in ``scan.py``, M = number of tiles of a row):

    x (B, L, D)   proj (B, L, K, Q), Q = R + 2 N   dt_weight (K, R, D)   dt_bias (K, D)   decay (K, N, D) = A * log2(e)
    skip (G, D) = sum of the group's D   order (K, L)   slot (K,) output group   first (K,) 1 where it is the group's first
    y (B, G, L, D)   saved (B, K, M, D / 16, N, 16) states before each tile

A row of ``order`` is walked in tiles of ``TILE`` steps, and inside a tile 16 channels at a time, so that the tokens of a tile stay in
the first-level cache. Tiles never cross a state reset.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from posecli.ssm.simd import (
    LANES,
    aligned,
    dot_rows,
    exp2,
    fma,
    kernel,
    load,
    load_rows,
    mul,
    prefetch,
    softplus,
    splat_rows,
    store,
    store_rows,
)

TILE = 32


@kernel
def prefetch_tile(
    x: Any, y: Any, proj: Any, tokens: Any, x_start: int, y_start: int, proj_start: int, width: Any, depth: Any
) -> None:
    """Ask for the rows of the next tile: their order is known, but no hardware predictor can guess it."""
    row, channels = width  # floats from token to token, floats wanted of a row
    direction, columns = depth  # floats from token to token of proj, floats wanted
    for i in range(len(tokens)):
        token = np.int64(tokens[i])
        for channel in range(0, channels, LANES):
            prefetch(x, x_start + token * row + channel)
            prefetch(y, y_start + token * row + channel)
        for column in range(0, columns, LANES):
            prefetch(proj, proj_start + token * direction + column)


@kernel
def compute_steps(
    x: Any,
    proj: Any,
    dt_weight: Any,
    dt_bias: Any,
    tokens: Any,
    starts: Any,
    sizes: Any,
    ranks: Any,
    num_ranks: int,
    delta: Any,
    gain: Any,
) -> None:
    """Delta = softplus(dt_low @ dt_weight + dt_bias) and gain = delta * x of one tile and 16 channels.

    starts: of x, proj, dt_weight and dt_bias at these channels; sizes: R, D, floats from token to token of proj.
    """
    x_start, proj_start, weight_start, bias_start = starts
    rank, width, proj_row = sizes
    for r in range(0, rank, num_ranks):
        weight = load_rows(ranks, dt_weight, weight_start + r * width, width)
        bias = load(dt_bias, bias_start)
        for i in range(len(tokens)):
            token = np.int64(tokens[i])
            raw = bias if r == 0 else load(delta, i * LANES)
            raw = dot_rows(raw, weight, splat_rows(ranks, proj, proj_start + token * proj_row + r))
            if r + num_ranks == rank:
                step = softplus(raw)
                store(delta, i * LANES, step)
                store(gain, i * LANES, mul(step, load(x, x_start + token * width)))
            else:
                store(delta, i * LANES, raw)


@kernel
def advance(
    x: Any,
    proj: Any,
    decay: Any,
    skip: Any,
    y: Any,
    tokens: Any,
    starts: Any,
    sizes: Any,
    states: Any,
    num_states: int,
    is_first: bool,
    delta: Any,
    gain: Any,
    state: Any,
) -> None:
    """Carry the states of 16 channels through one tile and add what they put out to y.

    starts: of x, B in proj, decay, skip and y at these channels; sizes: N, D, floats from token to token of proj.
    """
    x_start, proj_start, decay_start, skip_start, y_start = starts
    state_size, width, proj_row = sizes
    direct = load(skip, skip_start)
    for n in range(0, state_size, num_states):
        h = load_rows(states, state, n * LANES, LANES)
        rate = load_rows(states, decay, decay_start + n * width, width)
        for i in range(len(tokens)):
            token = np.int64(tokens[i])
            at = proj_start + token * proj_row + n
            h = fma(
                exp2(mul(load(delta, i * LANES), rate)), h, mul(load(gain, i * LANES), splat_rows(states, proj, at))
            )
            place = y_start + token * width
            out = mul(direct, load(x, x_start + token * width)) if is_first and n == 0 else load(y, place)
            store(y, place, dot_rows(out, h, splat_rows(states, proj, at + state_size)))
        store_rows(state, n * LANES, LANES, h)


@kernel
def scan_forward(
    x: Any,
    proj: Any,
    dt_weight: Any,
    dt_bias: Any,
    decay: Any,
    skip: Any,
    order: Any,
    slot: Any,
    first: Any,
    y: Any,
    saved: Any,
    sizes: Any,
    keep_states: bool,
    states: Any,
    ranks: Any,
    num_groups: int,
    task_begin: int,
    task_end: int,
) -> None:
    """Scan all directions of the tasks' channels. A task is one item of the batch and D / num_groups channels.

    sizes: L, D, K, N, R, G, steps between state resets, rows of ``states``, rows of ``ranks``.
    """
    length, width, directions, state_size, rank, slots, segment, num_states, num_ranks = sizes
    columns = rank + 2 * state_size
    proj_row = directions * columns
    channels = width // num_groups
    num_tiles = (length // segment) * ((segment + TILE - 1) // TILE)
    delta, gain, state = aligned(TILE * LANES), aligned(TILE * LANES), aligned(channels * state_size)
    for task in range(task_begin, task_end):
        item = task // num_groups
        c0 = (task % num_groups) * channels
        for k in range(directions):
            tile = 0
            x_start = item * length * width + c0
            y_start = (item * slots + slot[k]) * length * width + c0
            proj_start = (item * length * directions + k) * columns
            for segment_start in range(0, length, segment):
                state[:] = np.float32(0.0)
                end = segment_start + segment
                for t in range(segment_start, end, TILE):
                    stop = min(t + TILE, end)
                    tokens = order[k * length + t : k * length + stop]
                    ahead = order[k * length + stop : k * length + min(stop + TILE, length)]
                    prefetch_tile(
                        x, y, proj, ahead, x_start, y_start, proj_start, (width, channels), (proj_row, columns)
                    )
                    for c in range(0, channels, LANES):
                        own = state[c * state_size : (c + LANES) * state_size]
                        if keep_states:
                            place = (((item * directions + k) * num_tiles + tile) * width + c0 + c) * state_size
                            saved[place : place + LANES * state_size] = own
                        starts = (x_start + c, proj_start, k * rank * width + c0 + c, k * width + c0 + c)
                        compute_steps(
                            x,
                            proj,
                            dt_weight,
                            dt_bias,
                            tokens,
                            starts,
                            (rank, width, proj_row),
                            ranks,
                            num_ranks,
                            delta,
                            gain,
                        )
                        places = (
                            x_start + c,
                            proj_start + rank,
                            k * state_size * width + c0 + c,
                            slot[k] * width + c0 + c,
                            y_start + c,
                        )
                        advance(
                            x,
                            proj,
                            decay,
                            skip,
                            y,
                            tokens,
                            places,
                            (state_size, width, proj_row),
                            states,
                            num_states,
                            first[k] == 1,
                            delta,
                            gain,
                            own,
                        )
                    tile += 1
