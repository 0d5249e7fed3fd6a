"""How the Triton kernels cut a scan into blocks: the choices, and the guess that is used where nothing was measured.

Letters as in ``scan.py``. The kernels run one warp a program; a program takes ``block`` channels of a chunk of one direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

STEP_MULTIPLE = 8  # a chunk is a multiple of this, so that every unrolling and every tile divides it
_WARPS_WANTED = 12 * 132  # enough programs to fill an H200; more than enough for smaller devices


class Sizes(NamedTuple):
    """Everything about a scan that its speed depends on. ``x_type`` and ``proj_type`` are names of floating types."""

    batch: int
    length: int
    width: int
    directions: int
    states: int
    rank: int
    num_outputs: int
    seg_len: int
    x_type: str
    proj_type: str

    @classmethod
    def of(
        cls, x: Tensor, proj: Tensor, A_log: Tensor, dt_weight: Tensor, groups: tuple[int, ...], seg_len: int
    ) -> Sizes:
        """The sizes of a scan's arguments."""
        (batch, length, width), (directions, states, _) = x.shape, A_log.shape
        x_type, proj_type = (str(tensor.dtype).removeprefix("torch.") for tensor in (x, proj))
        rank, num_outputs = dt_weight.shape[1], max(groups) + 1
        return cls(batch, length, width, directions, states, rank, num_outputs, seg_len, x_type, proj_type)

    @property
    def segments(self) -> int:
        """Pieces of an order that share no state."""
        return self.length // self.seg_len


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of the blocks.

    Attributes:
        chunk: Steps of a chunk, a multiple of 8; chunks of a segment run at the same time.
        block: Channels of a program, a power of two that divides D.
        unroll: Steps written out one after the other: 1, 2, 4 or 8.
        keeps_deltas: Whether the first forward pass leaves delta in memory (B K L D numbers) for the second.
        tile: Steps whose states the backward holds at a time: 2, 4 or 8.
        group: States it takes at a time, a divisor of N.
        back_block: Channels of a program of the backward's last kernel, as ``block``.
    """

    chunk: int
    block: int
    unroll: int
    keeps_deltas: bool
    tile: int
    group: int
    back_block: int

    def chunks_per_segment(self, seg_len: int) -> int:
        """Chunks of a segment, the last of which may be shorter."""
        return -(-seg_len // self.chunk)


def guess_plan(sizes: Sizes) -> Plan:
    """A reasonable plan for any size."""
    block, back_block = widest_block(sizes.width, 64), widest_block(sizes.width, 128)
    return Plan(
        chunk=_chunk(sizes, block, 1.0),
        block=block,
        unroll=2,
        keeps_deltas=True,
        tile=4 if back_block == 128 else 8,  # more does not fit in registers
        group=1,
        back_block=back_block,
    )


def forward_candidates(sizes: Sizes) -> list[Plan]:
    """Plans worth measuring for the forward pass; they differ in nothing that only the backward reads."""
    guess = guess_plan(sizes)
    blocks = [(block, unroll) for block, unroll in ((64, 2), (32, 4)) if block <= guess.block] or [(guess.block, 2)]
    found = [
        replace(guess, block=block, unroll=unroll, keeps_deltas=keeps, chunk=_chunk(sizes, block, scale))
        for block, unroll in blocks
        for keeps in (True, False)
        for scale in (0.5, 1.0, 2.0)
    ]
    return list(dict.fromkeys(found))


def backward_candidates(sizes: Sizes, forward: Plan) -> list[Plan]:
    """Plans for the backward of a chosen forward, whose chunks they share."""
    limit = widest_block(sizes.width, 128)
    choices = ((128, 4, 1), (64, 8, 1), (64, 8, 2), (64, 4, 4), (32, 8, 2), (32, 8, 4))
    found = [
        replace(forward, back_block=block, tile=tile, group=_group(sizes.states, group))
        for block, tile, group in choices
        if block <= limit
    ]
    return list(dict.fromkeys(found)) or [replace(forward, back_block=limit)]


def widest_block(width: int, limit: int) -> int:
    """The largest power of two up to ``limit`` that divides the width."""
    return min(width & -width, limit)


def reads_words(proj: Tensor, sizes: Sizes) -> bool:
    """Whether rows of ``proj`` may be read 64 bits at a time."""
    each = {torch.float32: 2, torch.bfloat16: 4}.get(proj.dtype, 0)
    return each > 0 and sizes.rank % each == 0 and sizes.states % each == 0 and proj.data_ptr() % 8 == 0


def _group(states: int, limit: int) -> int:
    return next(count for count in range(min(states, limit), 0, -1) if states % count == 0)


def _chunk(sizes: Sizes, block: int, scale: float) -> int:
    """Steps of a chunk such that about ``scale`` times the wanted warps have work; a divisor of the segment if one is near."""
    warps = sizes.batch * sizes.directions * (sizes.width // block) * sizes.segments
    wanted = max(1, round(scale * _WARPS_WANTED * 64 / max(block, 64) / warps))
    steps = max(STEP_MULTIPLE, -(-sizes.seg_len // wanted))
    even = [c for c in range(STEP_MULTIPLE, sizes.seg_len + 1, STEP_MULTIPLE) if sizes.seg_len % c == 0]
    near = [c for c in even if steps / 1.5 <= c <= steps * 1.5]
    if near:
        return min(near, key=lambda c: abs(c - steps))
    return -(-steps // STEP_MULTIPLE) * STEP_MULTIPLE
