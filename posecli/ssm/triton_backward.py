"""Triton kernels of the scan's backward pass.

With g the gradient of a state, g_t = C_t dy_t + exp(delta_(t+1) A) g_(t+1): the same recurrence from the end to the start. Chunks as
in ``triton_forward.py``; a chunk is cut further in tiles of a few steps, whose states fit in registers.

    1. chunk_checkpoints  each chunk from the state it starts with (kept by the forward): deltas, and the state before each tile
    2. chunk_adjoints     each chunk but the first of a segment from a zero gradient: what it hands to the chunk before it
    3. carry_states       of the forward, reversed: the true gradient that arrives at each chunk
    4. chunk_gradients    tile by tile from the end: the states again, kept in registers, then back over them

The states are taken a few at a time ("group"), so that a tile of all of them need not fit. Sums over channels (of B and C) are
finished by the caller, one part a block of channels, as are sums over tokens, one part a chunk: no atomics, the same bits each run.

Layouts: dy (B, G, L, D), deltas and d_x (K, B, L, D), checkpoints (B * K, chunks, tiles, N, D), adjoints and d_rates as states,
d_skip and d_bias (B * K, chunks, D), d_bc (D / BLOCK, B, L, K, 2 N).
"""

from __future__ import annotations

import triton
import triton.language as tl

from posecli.ssm.triton_math import (
    LN_2,
    NUMBERS,
    chunk_range,
    everywhere,
    read_entry_states,
    read_rates,
    read_row,
    read_step_size,
    read_tokens,
    read_vectors,
    softplus_slope,
    write_vectors,
    zero_vectors,
)


@triton.jit(do_not_specialize=NUMBERS)
def chunk_checkpoints(
    x, proj, dt_weight, dt_bias, A_log, order, states, deltas, checkpoints,
    length, seg_len, chunk, chunks_per_segment,
    DIRECTIONS: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    TILE: tl.constexpr, UNROLL: tl.constexpr, IS_EVEN: tl.constexpr, IN_WORDS: tl.constexpr, HAS_STATES: tl.constexpr,
):  # fmt: skip
    """Phase 1. Grid (D / BLOCK, chunks, B * K)."""
    index, plane = tl.program_id(1), tl.program_id(2)
    channels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    batch, direction = (plane // DIRECTIONS).to(tl.int64), plane % DIRECTIONS
    numbers: tl.constexpr = RANK + 2 * STATES
    begin, last = chunk_range(index, seg_len, chunk, chunks_per_segment)
    x += batch * length * WIDTH
    proj += batch * length * DIRECTIONS * numbers + direction * numbers
    deltas += (direction * (tl.num_programs(2) // DIRECTIONS) + batch) * length * WIDTH
    order += direction * length
    place = plane.to(tl.int64) * tl.num_programs(1) + index
    checkpoints += place * (chunk // TILE) * STATES * WIDTH
    rates = read_rates(A_log + direction * STATES * WIDTH + channels, WIDTH, STATES)
    weight = read_vectors(dt_weight + direction * RANK * WIDTH + channels, WIDTH, RANK)
    bias = tl.load(dt_bias + direction * WIDTH + channels).to(tl.float32)
    h = read_entry_states(states, place, channels, index % chunks_per_segment > 0, WIDTH, STATES, BLOCK, HAS_STATES)
    ahead = read_tokens(order, begin, last, UNROLL)
    for step in range(0, chunk, UNROLL):
        if step % TILE == 0:
            write_vectors(checkpoints + step // TILE * STATES * WIDTH + channels, WIDTH, h, STATES)
        tokens = ahead
        ahead = read_tokens(order, begin + step + UNROLL, last, UNROLL)
        for i in tl.static_range(UNROLL):
            row = proj + tokens[i] * (DIRECTIONS * numbers)
            delta = read_step_size(row, weight, bias, RANK, IN_WORDS)
            tl.store(deltas + tokens[i] * WIDTH + channels, delta)
            if not IS_EVEN:
                delta = tl.where(begin + step + i <= last, delta, 0.0)
            gain = delta * tl.load(x + tokens[i] * WIDTH + channels).to(tl.float32)
            b = read_row(row + RANK, STATES, IN_WORDS)
            after = ()
            for n in tl.static_range(STATES):
                after = after + (tl.exp2(delta * rates[n]) * h[n] + gain * b[n],)
            h = after


@triton.jit(do_not_specialize=NUMBERS)
def chunk_adjoints(
    proj, A_log, order, deltas, dy, outputs, adjoints, sums,
    length, seg_len, chunk, chunks_per_segment, num_outputs,
    DIRECTIONS: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    UNROLL: tl.constexpr, IS_EVEN: tl.constexpr, IN_WORDS: tl.constexpr,
):  # fmt: skip
    """Phase 2. Grid (D / BLOCK, chunks, B * K)."""
    index, plane = tl.program_id(1), tl.program_id(2)
    if index % chunks_per_segment > 0:
        channels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        batch, direction = (plane // DIRECTIONS).to(tl.int64), plane % DIRECTIONS
        numbers: tl.constexpr = RANK + 2 * STATES
        begin = index // chunks_per_segment * seg_len + index % chunks_per_segment * chunk
        last = tl.minimum(begin + chunk, (index // chunks_per_segment + 1) * seg_len) - 1
        proj += batch * length * DIRECTIONS * numbers + direction * numbers
        deltas += (direction * (tl.num_programs(2) // DIRECTIONS) + batch) * length * WIDTH
        dy += (batch * num_outputs + tl.load(outputs + direction)) * length * WIDTH
        order += direction * length
        rates = read_rates(A_log + direction * STATES * WIDTH + channels, WIDTH, STATES)
        r = zero_vectors(STATES, BLOCK)
        total = tl.zeros([BLOCK], tl.float32)
        ahead = read_tokens(order, begin + chunk - UNROLL, last, UNROLL)
        for step in range(0, chunk, UNROLL):
            first = begin + chunk - UNROLL - step
            tokens = ahead
            ahead = read_tokens(order, tl.maximum(first - UNROLL, 0), last, UNROLL)
            for i in tl.static_range(UNROLL - 1, -1, -1):
                row = proj + tokens[i] * (DIRECTIONS * numbers)
                delta = tl.load(deltas + tokens[i] * WIDTH + channels)
                upstream = tl.load(dy + tokens[i] * WIDTH + channels).to(tl.float32)
                if not IS_EVEN:
                    delta = tl.where(first + i <= last, delta, 0.0)
                    upstream = tl.where(first + i <= last, upstream, 0.0)
                c = read_row(row + RANK + STATES, STATES, IN_WORDS)
                total += delta
                before = ()
                for n in tl.static_range(STATES):
                    before = before + (tl.exp2(delta * rates[n]) * (r[n] + upstream * c[n]),)
                r = before
        place = plane.to(tl.int64) * tl.num_programs(1) + index - 1
        write_vectors(adjoints + place * STATES * WIDTH + channels, WIDTH, r, STATES)
        tl.store(sums + place * WIDTH + channels, total)


@triton.jit
def _read_tile(
    x, deltas, dy, tokens, first, last, channels, WIDTH: tl.constexpr, TILE: tl.constexpr, IS_EVEN: tl.constexpr
):
    """x, delta and dy of a tile's steps; delta and dy are 0 past the end, which makes such a step do nothing."""
    value, delta, upstream = (), (), ()
    for i in tl.static_range(TILE):
        where = tokens[i] * WIDTH + channels
        value = value + (tl.load(x + where).to(tl.float32),)
        if IS_EVEN:
            delta = delta + (tl.load(deltas + where),)
            upstream = upstream + (tl.load(dy + where).to(tl.float32),)
        else:
            delta = delta + (tl.where(first + i <= last, tl.load(deltas + where), 0.0),)
            upstream = upstream + (tl.where(first + i <= last, tl.load(dy + where).to(tl.float32), 0.0),)
    return value, delta, upstream


@triton.jit
def _replay(
    proj, tokens, value, delta, rates, states,
    STRIDE: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr, IN_WORDS: tl.constexpr,
):  # fmt: skip
    """A tile's states and decays, [i * GROUP + j]: state j before step i, and its decay in step i. ``proj`` points at B."""
    decays = ()
    for i in tl.static_range(TILE):
        b = read_row(proj + tokens[i] * STRIDE, GROUP, IN_WORDS)
        gain = delta[i] * value[i]
        for j in tl.static_range(GROUP):
            decays = decays + (tl.exp2(delta[i] * rates[j]),)
            states = states + (decays[i * GROUP + j] * states[i * GROUP + j] + gain * b[j],)
    return states, decays


@triton.jit
def _go_back(
    proj, d_bc, tokens, first, last, value, delta, upstream, rates, states, decays, r, d_rate, gain_slopes, decay_slopes,
    STRIDE: tl.constexpr, OUT_STRIDE: tl.constexpr, STATES: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr,
    IS_EVEN: tl.constexpr, IN_WORDS: tl.constexpr,
):  # fmt: skip
    """From the end of a tile to its start: ``r`` is what arrives from later steps; the other sums are added to.

    gain_slopes[i] collects the gradient of delta * x, decay_slopes[i] that of delta through the decays, over all states.
    """
    gains, changes = (), ()
    for i in tl.static_range(TILE - 1, -1, -1):
        row = proj + tokens[i] * STRIDE
        b, c = read_row(row, GROUP, IN_WORDS), read_row(row + STATES, GROUP, IN_WORDS)
        gain, gain_slope, decay_slope = delta[i] * value[i], gain_slopes[i], decay_slopes[i]
        arriving, rate_slopes = (), ()
        for j in tl.static_range(GROUP):
            g = r[j] + upstream[i] * c[j]
            d_b, d_c = tl.sum(g * gain, 0), tl.sum(states[(i + 1) * GROUP + j] * upstream[i], 0)
            target = d_bc + tokens[i] * OUT_STRIDE + j
            if IS_EVEN:
                tl.store(target, d_b)
                tl.store(target + STATES, d_c)
            else:
                tl.store(target, d_b, mask=first + i <= last)
                tl.store(target + STATES, d_c, mask=first + i <= last)
            before = decays[i * GROUP + j] * g
            change = before * states[i * GROUP + j]  # the gradient of delta * A
            gain_slope += g * b[j]
            decay_slope += change * rates[j]
            arriving = arriving + (before,)
            rate_slopes = rate_slopes + (d_rate[j] + change * delta[i],)
        r, d_rate = arriving, rate_slopes
        gains, changes = (gain_slope,) + gains, (decay_slope,) + changes
    return r, d_rate, gains, changes


@triton.jit(do_not_specialize=NUMBERS)
def chunk_gradients(
    x, proj, A_log, skip, order, checkpoints, dy, outputs, adjoints, deltas, d_x, d_bc, d_rates, d_bias, d_skip,
    length, seg_len, chunk, chunks_per_segment, num_outputs,
    DIRECTIONS: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    TILE: tl.constexpr, GROUP: tl.constexpr, IS_EVEN: tl.constexpr, IN_WORDS: tl.constexpr,
):  # fmt: skip
    """Phase 4. Grid (D / BLOCK, chunks, B * K). ``adjoints`` is used up; ``deltas`` become gradients before the softplus."""
    index, plane = tl.program_id(1), tl.program_id(2)
    channels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    num_batches = tl.num_programs(2) // DIRECTIONS
    batch, direction = (plane // DIRECTIONS).to(tl.int64), plane % DIRECTIONS
    stride: tl.constexpr = DIRECTIONS * (RANK + 2 * STATES)
    begin, last = chunk_range(index, seg_len, chunk, chunks_per_segment)
    x += batch * length * WIDTH
    proj += batch * length * stride + direction * (RANK + 2 * STATES) + RANK
    dy += (batch * num_outputs + tl.load(outputs + direction)) * length * WIDTH
    deltas += (direction * num_batches + batch) * length * WIDTH
    d_x += (direction * num_batches + batch) * length * WIDTH
    d_bc += ((tl.program_id(0) * num_batches + batch) * length * DIRECTIONS + direction) * (2 * STATES)
    order += direction * length
    place = plane.to(tl.int64) * tl.num_programs(1) + index
    adjoints += place * STATES * WIDTH + channels
    d_rates += place * STATES * WIDTH + channels
    checkpoints += place * (chunk // TILE) * STATES * WIDTH + channels
    A_log += direction * STATES * WIDTH + channels
    factor = tl.load(skip + direction * WIDTH + channels).to(tl.float32)
    sum_bias, sum_skip = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for step in range(0, chunk, TILE):
        first = begin + chunk - TILE - step
        tokens = read_tokens(order, first, last, TILE)
        value, delta, upstream = _read_tile(x, deltas, dy, tokens, first, last, channels, WIDTH, TILE, IS_EVEN)
        gain_slopes, decay_slopes = zero_vectors(TILE, BLOCK), zero_vectors(TILE, BLOCK)
        for n in range(0, STATES, GROUP):
            tokens = read_tokens(order, first, last, TILE)  # again, or their addresses would fill the registers
            rates = read_rates(A_log + n * WIDTH, WIDTH, GROUP)
            entry = read_vectors(checkpoints + (((chunk - step) // TILE - 1) * STATES + n) * WIDTH, WIDTH, GROUP)
            states, decays = _replay(proj + n, tokens, value, delta, rates, entry, stride, TILE, GROUP, IN_WORDS)
            r = read_vectors(adjoints + n * WIDTH, WIDTH, GROUP)
            d_rate = read_vectors(d_rates + n * WIDTH, WIDTH, GROUP)
            r, d_rate, gain_slopes, decay_slopes = _go_back(
                proj + n, d_bc + n, tokens, first, last, value, delta, upstream, rates, states, decays,
                r, d_rate, gain_slopes, decay_slopes, stride, DIRECTIONS * 2 * STATES, STATES, TILE, GROUP, IS_EVEN, IN_WORDS,
            )  # fmt: skip
            write_vectors(adjoints + n * WIDTH, WIDTH, r, GROUP)
            write_vectors(d_rates + n * WIDTH, WIDTH, d_rate, GROUP)
        tokens = read_tokens(order, first, last, TILE)
        for i in tl.static_range(TILE):
            where = tokens[i] * WIDTH + channels
            d_raw = (value[i] * gain_slopes[i] + decay_slopes[i] * LN_2) * softplus_slope(delta[i])
            d_value = delta[i] * gain_slopes[i] + factor * upstream[i]
            sum_bias += d_raw
            sum_skip += value[i] * upstream[i]
            is_inside = everywhere(IS_EVEN or first + i <= last, BLOCK)
            tl.store(deltas + where, d_raw, mask=is_inside)
            tl.store(d_x + where, d_value, mask=is_inside)
    tl.store(d_bias + place * WIDTH + channels, sum_bias)
    tl.store(d_skip + place * WIDTH + channels, sum_skip)
