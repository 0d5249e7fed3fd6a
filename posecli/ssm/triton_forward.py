"""Triton kernels of the scan's forward pass.

An order is cut in segments (where the state starts afresh) and each segment in chunks of ``chunk`` steps, which run at the same time:

    1. chunk_states   each chunk but the last of a segment from a zero state: the state it ends with, and the sum of its deltas
    2. carry_states   along the chunks of a segment: the true state each chunk starts with; exp(A * sum of deltas) is a chunk's decay
    3. chunk_outputs  each chunk again, from its true state: the outputs

With one chunk a segment (short windows, or a batch that fills the device) only the third runs. Every exponent is <= 0.

Layouts: x (B, L, D), proj (B, L, K, R + 2 N), y (B, G, L, D), deltas (K, B, L, D); states (B * K, chunks, N, D) and sums
(B * K, chunks, D), chunks counted over all segments. Both hold in the place of chunk c what arrives there from the chunk before it.
Nothing is permuted: step t of direction k reads and writes in the place of token order[k, t].
"""

from __future__ import annotations

import triton
import triton.language as tl

from posecli.ssm.triton_math import (
    NUMBERS,
    chunk_range,
    everywhere,
    read_entry_states,
    read_rates,
    read_row,
    read_step_size,
    read_tokens,
    read_vectors,
    write_vectors,
    zero_vectors,
)


@triton.jit(do_not_specialize=NUMBERS)
def chunk_states(
    x, proj, dt_weight, dt_bias, A_log, order, states, sums, deltas,
    length, seg_len, chunk, chunks_per_segment,
    DIRECTIONS: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    UNROLL: tl.constexpr, IS_EVEN: tl.constexpr, IN_WORDS: tl.constexpr, KEEPS_DELTAS: tl.constexpr,
):  # fmt: skip
    """Phase 1. Grid (D / BLOCK, chunks, B * K); the last chunk of a segment has nothing to do unless deltas are kept."""
    index, plane = tl.program_id(1), tl.program_id(2)
    channels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    batch, direction = (plane // DIRECTIONS).to(tl.int64), plane % DIRECTIONS
    is_last = index % chunks_per_segment == chunks_per_segment - 1
    if KEEPS_DELTAS or not is_last:
        numbers: tl.constexpr = RANK + 2 * STATES
        begin, last = chunk_range(index, seg_len, chunk, chunks_per_segment)
        x += batch * length * WIDTH
        proj += batch * length * DIRECTIONS * numbers + direction * numbers
        deltas += (direction * (tl.num_programs(2) // DIRECTIONS) + batch) * length * WIDTH
        order += direction * length
        rates = read_rates(A_log + direction * STATES * WIDTH + channels, WIDTH, STATES)
        weight = read_vectors(dt_weight + direction * RANK * WIDTH + channels, WIDTH, RANK)
        bias = tl.load(dt_bias + direction * WIDTH + channels).to(tl.float32)
        h = zero_vectors(STATES, BLOCK)
        total = tl.zeros([BLOCK], tl.float32)
        ahead = read_tokens(order, begin, last, UNROLL)
        for step in range(0, chunk, UNROLL):
            tokens = ahead
            ahead = read_tokens(order, begin + step + UNROLL, last, UNROLL)
            for i in tl.static_range(UNROLL):
                row = proj + tokens[i] * (DIRECTIONS * numbers)
                delta = read_step_size(row, weight, bias, RANK, IN_WORDS)
                if KEEPS_DELTAS:  # steps past the end write the last one's again, the same number
                    tl.store(deltas + tokens[i] * WIDTH + channels, delta)
                if not IS_EVEN:
                    delta = tl.where(begin + step + i <= last, delta, 0.0)  # such a step keeps the state
                gain = delta * tl.load(x + tokens[i] * WIDTH + channels).to(tl.float32)
                b = read_row(row + RANK, STATES, IN_WORDS)
                total += delta
                after = ()
                for n in tl.static_range(STATES):
                    after = after + (tl.exp2(delta * rates[n]) * h[n] + gain * b[n],)
                h = after
        if not is_last:
            place = plane.to(tl.int64) * tl.num_programs(1) + index + 1
            write_vectors(states + place * STATES * WIDTH + channels, WIDTH, h, STATES)
            tl.store(sums + place * WIDTH + channels, total)


@triton.jit(do_not_specialize=NUMBERS)
def carry_states(
    A_log, states, sums, chunks_per_segment, segments,
    DIRECTIONS: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, UNROLL: tl.constexpr,
    IS_REVERSED: tl.constexpr,
):  # fmt: skip
    """Phase 2, in place. Grid (D / BLOCK, N, B * K * segments). ``IS_REVERSED``: from the last chunk to the first, for adjoints."""
    state, plane = tl.program_id(1), tl.program_id(2)
    channels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    direction = plane // segments % DIRECTIONS
    rate = read_rates(A_log + (direction * STATES + state) * WIDTH + channels, WIDTH, 1)[0]
    states += plane.to(tl.int64) * chunks_per_segment * STATES * WIDTH + state * WIDTH
    sums += plane.to(tl.int64) * chunks_per_segment * WIDTH
    links = chunks_per_segment - 1
    h = tl.zeros([BLOCK], tl.float32)
    for first in range(0, links, UNROLL):
        # all reads of a round before its writes, or each would wait for the write before it
        arrived, totals = (), ()
        for i in tl.static_range(UNROLL):
            link = tl.minimum(first + i, links - 1)
            place = links - 1 - link if IS_REVERSED else link + 1
            arrived = arrived + (tl.load(states + place * STATES * WIDTH + channels),)
            totals = totals + (tl.load(sums + place * WIDTH + channels),)
        for i in tl.static_range(UNROLL):
            link = first + i
            place = links - 1 - link if IS_REVERSED else link + 1
            h = tl.exp2(totals[i] * rate) * h + arrived[i]
            tl.store(states + place * STATES * WIDTH + channels, h, mask=everywhere(link < links, BLOCK))


@triton.jit(do_not_specialize=NUMBERS)
def chunk_outputs(
    x, proj, dt_weight, dt_bias, A_log, skip, order, states, deltas, y, members, outputs,
    length, seg_len, chunk, chunks_per_segment, num_members, num_outputs,
    DIRECTIONS: tl.constexpr, WIDTH: tl.constexpr, STATES: tl.constexpr, RANK: tl.constexpr, BLOCK: tl.constexpr,
    UNROLL: tl.constexpr, IS_EVEN: tl.constexpr, IN_WORDS: tl.constexpr, HAS_DELTAS: tl.constexpr,
    HAS_STATES: tl.constexpr, IS_FIRST: tl.constexpr,
):  # fmt: skip
    """Phase 3 for some directions, no two of the same output. Grid (D / BLOCK, chunks, B * members).

    ``members`` and ``outputs`` list the directions and their outputs. ``IS_FIRST`` writes; otherwise what is there is added to.
    """
    index, plane = tl.program_id(1), tl.program_id(2)
    channels = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    batch = (plane // num_members).to(tl.int64)
    direction, output = tl.load(members + plane % num_members), tl.load(outputs + plane % num_members)
    numbers: tl.constexpr = RANK + 2 * STATES
    begin, last = chunk_range(index, seg_len, chunk, chunks_per_segment)
    x += batch * length * WIDTH
    proj += batch * length * DIRECTIONS * numbers + direction * numbers
    deltas += (direction * (tl.num_programs(2) // num_members) + batch) * length * WIDTH
    y += (batch * num_outputs + output) * length * WIDTH
    order += direction * length
    rates = read_rates(A_log + direction * STATES * WIDTH + channels, WIDTH, STATES)
    if not HAS_DELTAS:
        weight = read_vectors(dt_weight + direction * RANK * WIDTH + channels, WIDTH, RANK)
        bias = tl.load(dt_bias + direction * WIDTH + channels).to(tl.float32)
    factor = tl.load(skip + direction * WIDTH + channels).to(tl.float32)
    place = (batch * DIRECTIONS + direction) * tl.num_programs(1) + index
    h = read_entry_states(states, place, channels, index % chunks_per_segment > 0, WIDTH, STATES, BLOCK, HAS_STATES)
    ahead = read_tokens(order, begin, last, UNROLL)
    for step in range(0, chunk, UNROLL):
        tokens = ahead
        ahead = read_tokens(order, begin + step + UNROLL, last, UNROLL)
        for i in tl.static_range(UNROLL):
            row = proj + tokens[i] * (DIRECTIONS * numbers)
            if HAS_DELTAS:
                delta = tl.load(deltas + tokens[i] * WIDTH + channels)
            else:
                delta = read_step_size(row, weight, bias, RANK, IN_WORDS)
            value = tl.load(x + tokens[i] * WIDTH + channels).to(tl.float32)
            b, c = read_row(row + RANK, STATES, IN_WORDS), read_row(row + RANK + STATES, STATES, IN_WORDS)
            gain, out = delta * value, factor * value
            after = ()
            for n in tl.static_range(STATES):
                after = after + (tl.exp2(delta * rates[n]) * h[n] + gain * b[n],)
                out += c[n] * after[n]
            h = after
            where = y + tokens[i] * WIDTH + channels
            if IS_EVEN:
                tl.store(where, out if IS_FIRST else tl.load(where) + out)
            else:  # what a step past the end does to the state is of no account
                is_inside = everywhere(begin + step + i <= last, BLOCK)
                tl.store(where, out if IS_FIRST else tl.load(where) + out, mask=is_inside)
