"""Forward kernel of the selective scan.

A row of the order is walked in tiles of ``TILE`` steps, and inside a tile 16 channels at a time, so that the tokens of a tile stay in
the first-level cache. Tiles never cross a state reset. All memory is given by address, and
all tensors are contiguous; letters as in ``scan.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba.extending import register_jitable

from posecli.ssm.simd import (
    LANES,
    dot_rows,
    exp2,
    fma,
    kernel,
    load,
    load_int,
    load_rows,
    mul,
    prefetch,
    routine,
    softplus,
    splat_rows,
    store,
    store_rows,
    zero,
)

TILE = 64

# Scratch memory of a task: vectors of the current tile, 16 channels wide, then the states (D / num_groups, N).
PART = TILE * LANES
DELTA, GAIN, STATE = 0, PART, 2 * PART


class Inputs(NamedTuple):
    """Addresses of what a scan reads, float32 unless said otherwise."""

    x: int
    """(B, L, D)."""
    proj: int
    """(B, L, K, R + 2 N)."""
    dt_weight: int
    """(K, R, D)."""
    dt_bias: int
    """(K, D)."""
    decay: int
    """(K, N, D), A * log2(e)."""
    skip: int
    """(G, D), the sum of D over the directions of a group."""
    order: int
    """(K, L) int32."""
    group: int
    """(K,) int32, output group of each direction."""
    is_first: int
    """(K,) int32, 1 where the direction is its group's first; that one starts the sum."""


class Sizes(NamedTuple):
    """Letters of the shapes, and how the work is cut."""

    length: int
    width: int
    num_directions: int
    state_size: int
    rank: int
    num_outputs: int
    seg_len: int
    num_states: int
    """States kept in registers at a time, a divisor of N."""
    num_ranks: int
    """Likewise of R."""
    num_groups: int
    """Parts into which the channels are cut: a task of the forward is one of them of one output of one item of the batch, a task
    of the backward one of them of one item."""


class Block(NamedTuple):
    """Sixteen channels of one tile of one direction."""

    item: int
    direction: int
    channel: int
    begin: int
    """Where the tile begins in the flat order."""
    num_steps: int
    """Steps of the tile."""
    tile: int
    """Number of the tile in its row."""


@register_jitable
def count_tiles(sizes: Any) -> Any:
    """Tiles of a whole row, and of a segment."""
    per_segment = (sizes.seg_len + TILE - 1) // TILE
    return (sizes.length // sizes.seg_len) * per_segment, per_segment


@register_jitable
def forward_scratch(sizes: Any) -> Any:
    """Floats of scratch memory that a task needs."""
    return STATE + sizes.width // sizes.num_groups * sizes.state_size


@routine
def saved_start(sizes: Any, block: Any) -> Any:
    """Place of a block's first states in ``saved``, (B, K, tiles, D / 16, N, 16)."""
    num_tiles, _ = count_tiles(sizes)
    row = (block.item * sizes.num_directions + block.direction) * num_tiles + block.tile
    return (row * sizes.width + block.channel) * sizes.state_size


@routine
def proj_layout(sizes: Any, block: Any) -> Any:
    """Of proj: place of this item's and direction's first column for token 0, and floats from one token to the next."""
    columns = sizes.rank + 2 * sizes.state_size
    step = sizes.num_directions * columns
    return block.item * sizes.length * step + block.direction * columns, step


@routine
def compute_steps(inputs: Any, sizes: Any, block: Any, ranks: Any, scratch: int) -> None:
    """Step sizes delta = softplus(dt_low @ dt_weight + dt_bias) and gain = delta * x of a block."""
    x, proj, dt_weight, order, width = inputs.x, inputs.proj, inputs.dt_weight, inputs.order, sizes.width
    x_start = block.item * sizes.length * width + block.channel
    weight_start = block.direction * sizes.rank * width + block.channel
    proj_start, proj_step = proj_layout(sizes, block)
    bias = load(inputs.dt_bias, block.direction * width + block.channel)
    last, num_columns = (block.direction + 1) * sizes.length - 1, sizes.rank + 2 * sizes.state_size
    for r in range(0, sizes.rank, sizes.num_ranks):
        weight = load_rows(ranks, dt_weight, weight_start + r * width, width)
        for i in range(block.num_steps):
            token, at = load_int(order, block.begin + i), i * LANES
            raw = bias if r == 0 else load(scratch, DELTA + at)
            raw = dot_rows(raw, weight, splat_rows(ranks, proj, proj_start + token * proj_step + r))
            later = load_int(order, min(block.begin + TILE + i, last))
            prefetch(x, x_start + later * width)
            prefetch(proj, proj_start + later * proj_step)
            prefetch(proj, proj_start + later * proj_step + num_columns - 1)
            if r + sizes.num_ranks == sizes.rank:
                raw = softplus(raw)
                store(scratch, GAIN + at, mul(raw, load(x, x_start + token * width)))
            store(scratch, DELTA + at, raw)


@routine
def advance(inputs: Any, sizes: Any, block: Any, states: Any, scratch: int, state: int, y: int) -> None:
    """Carry the states of a block, at ``state`` in scratch, through its tile and add what they put out to y."""
    x, proj, order, width, state_size = inputs.x, inputs.proj, inputs.order, sizes.width, sizes.state_size
    group, starts_sum = load_int(inputs.group, block.direction), load_int(inputs.is_first, block.direction) == 1
    x_start = block.item * sizes.length * width + block.channel
    y_start = (block.item * sizes.num_outputs + group) * sizes.length * width + block.channel
    decay_start = block.direction * state_size * width + block.channel
    proj_start, proj_step = proj_layout(sizes, block)
    skip = load(inputs.skip, group * width + block.channel)
    last = (block.direction + 1) * sizes.length - 1
    for n in range(0, state_size, sizes.num_states):
        h = load_rows(states, scratch, state + n * LANES, LANES)
        rate = load_rows(states, inputs.decay, decay_start + n * width, width)
        for i in range(block.num_steps):
            token = load_int(order, block.begin + i)
            at, place = proj_start + token * proj_step + sizes.rank + n, y_start + token * width
            factor = exp2(mul(load(scratch, DELTA + i * LANES), rate))
            h = fma(factor, h, mul(load(scratch, GAIN + i * LANES), splat_rows(states, proj, at)))
            prefetch(y, y_start + load_int(order, min(block.begin + TILE + i, last)) * width)
            out = mul(skip, load(x, x_start + token * width)) if starts_sum and n == 0 else load(y, place)
            store(y, place, dot_rows(out, h, splat_rows(states, proj, at + state_size)))
        store_rows(scratch, state + n * LANES, LANES, h)


@routine
def forward_tile(
    inputs: Any, sizes: Any, block: Any, channels: int, states: Any, ranks: Any, scratch: int, y: int, saved: int
) -> None:
    """So many channels through one tile; ``block`` is the first. States are saved unless ``saved`` is 0."""
    for c in range(0, channels, LANES):
        own = Block(block.item, block.direction, block.channel + c, block.begin, block.num_steps, block.tile)
        state = STATE + c * sizes.state_size
        if saved != 0:
            place = saved_start(sizes, own)
            for n in range(0, sizes.state_size * LANES, LANES):
                store(saved, place + n, load(scratch, state + n))
        compute_steps(inputs, sizes, own, ranks, scratch)
        advance(inputs, sizes, own, states, scratch, state, y)


@routine
def _scan_row(
    inputs: Any, sizes: Any, start: Any, channels: int, states: Any, ranks: Any, scratch: int, y: int, saved: int
) -> None:
    """A whole direction, so many channels from those of ``start`` on."""
    tile = 0
    for segment in range(0, sizes.length, sizes.seg_len):
        for state in range(STATE, STATE + channels * sizes.state_size, LANES):
            store(scratch, state, zero())
        segment_end = segment + sizes.seg_len
        for t in range(segment, segment_end, TILE):
            stop = min(t + TILE, segment_end)
            block = Block(start.item, start.direction, start.channel, start.begin + t, stop - t, tile)
            forward_tile(inputs, sizes, block, channels, states, ranks, scratch, y, saved)
            tile += 1


@kernel
def scan_forward(
    inputs: Any, sizes: Any, states: Any, ranks: Any, y: int, saved: int, memory: int, task_begin: int, task_end: int
) -> None:
    """Scan some tasks; those that are parts of the same output, side by side, are scanned as one.

    Args:
        inputs: ``Inputs``.
        sizes: ``Sizes``.
        states: ``Rows(sizes.num_states)``.
        ranks: ``Rows(sizes.num_ranks)``.
        y: (B, G, L, D), written. Address, as the next two.
        saved: (B, K, tiles, D / 16, N, 16) states before each tile, written; or 0.
        memory: Tasks times ``forward_scratch(sizes)`` floats of scratch memory.
        task_begin: First task, of B times G times ``num_groups``.
        task_end: One after the last.
    """
    task = task_begin
    while task < task_end:
        row = task // sizes.num_groups
        stop = min(task_end, (row + 1) * sizes.num_groups)
        first = (task % sizes.num_groups) * (sizes.width // sizes.num_groups)
        channels = (stop - task) * (sizes.width // sizes.num_groups)
        scratch = memory + 4 * task * forward_scratch(sizes)
        for k in range(sizes.num_directions):
            if load_int(inputs.group, k) == row % sizes.num_outputs:
                block = Block(row // sizes.num_outputs, k, first, k * sizes.length, 0, 0)
                _scan_row(inputs, sizes, block, channels, states, ranks, scratch, y, saved)
        task = stop
