"""What the Triton kernels of the scan share: softplus, rows of numbers read two or four at a time, chunks of an order.

A kernel is one warp for a block of channels; a value per channel is a vector of ``BLOCK`` numbers, a lane holds the same channels of
all of them. The N states of a channel are N such vectors in a tuple, so every state stays in the registers of one lane and nothing is
exchanged between lanes in a step.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
NUMBERS = ["length", "seg_len", "chunk", "chunks_per_segment", "segments", "num_members", "num_outputs"]
"""Arguments whose values must not make a kernel be compiled anew."""
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def softplus(value):
    """log(1 + exp(value)), relatively accurate for every value: log1p(u) / u on [0, 1] as a polynomial, to 1.3e-7."""
    u = tl.exp2(tl.abs(value) * -LOG2_E)
    p = u * -0.003243980696424842 + 0.019851261749863625
    p = p * u - 0.056959159672260284
    p = p * u + 0.10603617131710052
    p = p * u - 0.15305569767951965
    p = p * u + 0.19675931334495544
    p = p * u - 0.24954132735729218
    p = p * u + 0.3332996368408203
    p = p * u - 0.4999990165233612
    p = p * u + 1.0
    return p * u + tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def softplus_slope(delta):
    """Derivative of softplus where its value is ``delta``: 1 - exp(-delta), by its series where that would cancel."""
    series = 1.0 - delta * (1.0 / 5.0) * (1.0 - delta * (1.0 / 6.0))
    series = 1.0 - delta * (1.0 / 3.0) * (1.0 - delta * (1.0 / 4.0) * series)
    series = delta * (1.0 - delta * (1.0 / 2.0) * series)
    return tl.where(delta < 0.125, series, 1.0 - tl.exp2(delta * -LOG2_E))


@triton.jit
def read_row(pointer, COUNT: tl.constexpr, IN_WORDS: tl.constexpr):
    """``COUNT`` neighbouring numbers, the same for every channel, as a tuple of float32.

    ``IN_WORDS`` reads 64 bits at once, two float32 or four bfloat16, where the count allows; the address must
    then be a multiple of 8 bytes.
    """
    row = ()
    if not IN_WORDS or COUNT * pointer.dtype.element_ty.primitive_bitwidth % 64 != 0:
        for i in tl.static_range(COUNT):
            row = row + (tl.load(pointer + i).to(tl.float32),)
    elif pointer.dtype.element_ty == tl.float32:
        words = pointer.to(tl.pointer_type(tl.int64), bitcast=True)
        for i in tl.static_range(COUNT // 2):
            word = tl.load(words + i)
            low, high = word.to(tl.int32), (word >> 32).to(tl.int32)
            row = row + (low.to(tl.float32, bitcast=True), high.to(tl.float32, bitcast=True))
    else:
        words = pointer.to(tl.pointer_type(tl.int64), bitcast=True)
        for i in tl.static_range(COUNT // 4):
            word = tl.load(words + i)
            low, high = word.to(tl.int32), (word >> 32).to(tl.int32)
            row = row + (_upper(low << 16), _upper(low), _upper(high << 16), _upper(high))
    return row


@triton.jit
def _upper(bits):
    """The bfloat16 in the upper half of 32 bits, as float32."""
    return (bits & -65536).to(tl.float32, bitcast=True)


@triton.jit
def chunk_range(index, seg_len, chunk, chunks_per_segment):
    """First and last step of a chunk, counted over all segments."""
    segment, inside = index // chunks_per_segment, index % chunks_per_segment
    begin = segment * seg_len + inside * chunk
    return begin, tl.minimum(begin + chunk, (segment + 1) * seg_len) - 1


@triton.jit
def read_tokens(order, first, last, COUNT: tl.constexpr):
    """Token indices at steps ``first``, ``first + 1`` ... of an order; past ``last`` that of ``last`` again."""
    tokens = ()
    for i in tl.static_range(COUNT):
        tokens = tokens + (tl.load(order + tl.minimum(first + i, last)),)
    return tokens


@triton.jit
def read_step_size(low, weight, bias, RANK: tl.constexpr, IN_WORDS: tl.constexpr):
    """The step size of a token: softplus(dt_low . dt_weight + dt_bias) of a token; ``weight`` is a tuple of RANK vectors."""
    numbers = read_row(low, RANK, IN_WORDS)
    raw = bias
    for r in tl.static_range(RANK):
        raw += numbers[r] * weight[r]
    return softplus(raw)


@triton.jit
def read_vectors(pointer, stride, COUNT: tl.constexpr):
    """``COUNT`` vectors of channels, ``stride`` numbers apart."""
    vectors = ()
    for i in tl.static_range(COUNT):
        vectors = vectors + (tl.load(pointer + i * stride).to(tl.float32),)
    return vectors


@triton.jit
def read_rates(A_log, stride, COUNT: tl.constexpr):
    """A * log2(e) = -exp(A_log) * log2(e), so that exp2 can follow without another product."""
    rates = ()
    for i in tl.static_range(COUNT):
        rates = rates + (tl.exp(tl.load(A_log + i * stride).to(tl.float32)) * -LOG2_E,)
    return rates


@triton.jit
def zero_vectors(COUNT: tl.constexpr, BLOCK: tl.constexpr):
    """``COUNT`` vectors of zeros."""
    vectors = ()
    for _ in tl.static_range(COUNT):
        vectors = vectors + (tl.zeros([BLOCK], tl.float32),)
    return vectors


@triton.jit
def read_entry_states(
    states, place, channels, arrives,
    WIDTH: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr, HAS_STATES: tl.constexpr,
):  # fmt: skip
    """The state a chunk starts with: zeros where none ``arrives``, at the start of a segment."""
    if not HAS_STATES:
        return zero_vectors(STATES, BLOCK)
    vectors = ()
    for n in tl.static_range(STATES):
        where = states + (place * STATES + n) * WIDTH + channels
        vectors = vectors + (tl.load(where, mask=everywhere(arrives, BLOCK), other=0.0),)
    return vectors


@triton.jit
def write_vectors(pointer, stride, vectors, COUNT: tl.constexpr):
    """The opposite of `read_vectors`."""
    for i in tl.static_range(COUNT):
        tl.store(pointer + i * stride, vectors[i])


@triton.jit
def everywhere(condition, BLOCK: tl.constexpr):
    """A scalar condition as the mask of a vector (the interpreter spreads no scalar mask)."""
    return tl.full([BLOCK], True, tl.int1) & condition
