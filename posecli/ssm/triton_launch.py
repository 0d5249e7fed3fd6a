"""Runs the Triton kernels of the scan: memory, grids and order of launches of one forward and one backward pass.

Determinism: no atomics anywhere. The directions of one output are run in ranks, the first direction of every output together, then the
second of every output, which adds to what the first wrote, and so on. Gradients that several programs share are written in parts and
summed. Two runs give the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from posecli.ssm.triton_backward import chunk_adjoints, chunk_checkpoints, chunk_gradients
from posecli.ssm.triton_forward import carry_states, chunk_outputs, chunk_states
from posecli.ssm.triton_plan import Plan, Sizes, reads_words

_CARRY_UNROLL = 8
_UNROLL = 2  # of the backward's first two kernels
_BACKWARD_BYTES = 2 << 30  # of scratch at a time; a larger batch is taken in parts


class Arguments(NamedTuple):
    """Contiguous tensors of a scan, as ``scan.py`` names them. x and proj may be float16 or bfloat16, the others are float32."""

    x: Tensor
    proj: Tensor
    dt_weight: Tensor
    dt_bias: Tensor
    A_log: Tensor
    D: Tensor
    order: Tensor


def run_forward(
    scan: Arguments, groups: tuple[int, ...], sizes: Sizes, plan: Plan, *, compiled: list[Any] | None = None
) -> tuple[Tensor, Tensor]:
    """The output (B, G, L, D), float32, and the states between chunks, (B * K, chunks, N, D), which the backward needs.

    Args:
        scan: The tensors.
        groups: Output of each direction.
        sizes: Of the tensors.
        plan: How to cut.
        compiled: Collects the kernels that ran.
    """
    batch, width, per_segment = sizes.batch, sizes.width, plan.chunks_per_segment(sizes.seg_len)
    chunks, planes = per_segment * sizes.segments, batch * sizes.directions
    has_states = per_segment > 1
    keeps = plan.keeps_deltas and has_states
    new = functools.partial(torch.empty, device=scan.x.device, dtype=torch.float32)
    states = new(planes, chunks if has_states else 0, sizes.states, width)
    deltas = new(sizes.directions * batch if keeps else 0, sizes.length, width)
    y = new(batch, sizes.num_outputs, sizes.length, width)
    constants = _constants(scan, sizes, plan, BLOCK=plan.block, UNROLL=plan.unroll)
    cuts = (sizes.length, sizes.seg_len, plan.chunk, per_segment)
    kernels = [] if compiled is None else compiled
    blocks = width // plan.block
    if has_states:
        sums = new(planes, chunks, width)
        written = (scan.order, states, sums, deltas)
        kernels.append(
            chunk_states[(blocks, chunks, planes)](*scan[:5], *written, *cuts, **constants, KEEPS_DELTAS=keeps)
        )
        kernels.append(_carry(scan, states, sums, sizes, plan, is_reversed=False))
    for rank, (members, outputs) in enumerate(_ranks(groups, scan.x.device)):
        grid = (blocks, chunks, batch * members.numel())
        tensors = (*scan[:5], scan.D, scan.order, states, deltas, y, members, outputs)
        flags = {"HAS_DELTAS": keeps, "HAS_STATES": has_states, "IS_FIRST": rank == 0}
        numbers = (*cuts, members.numel(), sizes.num_outputs)
        kernels.append(chunk_outputs[grid](*tensors, *numbers, **constants, **flags))
    return y, states


def run_backward(
    scan: Arguments,
    groups: tuple[int, ...],
    states: Tensor,
    dy: Tensor,
    sizes: Sizes,
    plan: Plan,
    *,
    compiled: list[Any] | None = None,
) -> list[Tensor]:
    """Gradients of the first six tensors, float32.

    Args:
        scan: The tensors.
        groups: Output of each direction.
        states: What the forward left, with the same ``plan.chunk``.
        dy: (B, G, L, D), contiguous.
        sizes: Of the tensors.
        plan: How to cut.
        compiled: Collects the kernels that ran.
    """
    d_x = torch.empty_like(scan.x, dtype=torch.float32)
    d_proj = torch.empty_like(scan.proj, dtype=torch.float32)
    sums: list[Tensor] | None = None
    for first, last in _parts(sizes, plan):
        part = scan._replace(x=scan.x[first:last], proj=scan.proj[first:last])
        planes = slice(first * sizes.directions, last * sizes.directions)
        found = _backward_part(
            part, groups, states[planes], dy[first:last], sizes._replace(batch=last - first), plan, compiled
        )
        d_x[first:last], d_proj[first:last] = found[:2]
        sums = found[2:] if sums is None else [one + other for one, other in zip(sums, found[2:], strict=True)]
    assert sums is not None
    d_weight, d_bias, d_rate, d_skip = sums
    return [d_x, d_proj, d_weight, d_bias, d_rate * -torch.exp(scan.A_log), d_skip]


def _backward_part(
    scan: Arguments,
    groups: tuple[int, ...],
    states: Tensor,
    dy: Tensor,
    sizes: Sizes,
    plan: Plan,
    compiled: list[Any] | None,
) -> list[Tensor]:
    """Gradients of x and proj of a part of the batch, and of dt_weight, dt_bias, A and D summed over it."""
    batch, width, directions = sizes.batch, sizes.width, sizes.directions
    per_segment = plan.chunks_per_segment(sizes.seg_len)
    chunks, planes = per_segment * sizes.segments, batch * directions
    new = functools.partial(torch.empty, device=scan.x.device, dtype=torch.float32)
    deltas, d_x = new(directions, batch, sizes.length, width), new(directions, batch, sizes.length, width)
    checkpoints = new(planes * chunks * (plan.chunk // plan.tile) * sizes.states * width)
    adjoints, d_rates = torch.zeros(2, planes, chunks, sizes.states, width, device=scan.x.device).unbind()
    d_bias, d_skip = new(2, planes, chunks, width).unbind()
    d_bc = new(width // plan.back_block, batch, sizes.length, directions, 2 * sizes.states)
    outputs = _table(groups, scan.x.device)
    constants = _constants(scan, sizes, plan, BLOCK=plan.block)
    cuts = (sizes.length, sizes.seg_len, plan.chunk, per_segment)
    grid = (width // plan.block, chunks, planes)
    kernels = [] if compiled is None else compiled
    written = (scan.order, states, deltas, checkpoints)
    flags = {"TILE": plan.tile, "UNROLL": _UNROLL, "HAS_STATES": per_segment > 1}
    kernels.append(chunk_checkpoints[grid](*scan[:5], *written, *cuts, **constants, **flags))
    if per_segment > 1:
        sums = new(planes, chunks, width)
        read = (scan.proj, scan.A_log, scan.order, deltas, dy, outputs)
        numbers = (*cuts, sizes.num_outputs)
        kernels.append(chunk_adjoints[grid](*read, adjoints, sums, *numbers, **constants, UNROLL=_UNROLL))
        kernels.append(_carry(scan, adjoints, sums, sizes, plan, is_reversed=True))
    inputs = (scan.x, scan.proj, scan.A_log, scan.D, scan.order, checkpoints, dy, outputs)
    gradients = (adjoints, deltas, d_x, d_bc, d_rates, d_bias, d_skip)
    flags = constants | {"BLOCK": plan.back_block, "TILE": plan.tile, "GROUP": plan.group}
    grid = (width // plan.back_block, chunks, planes)
    kernels.append(chunk_gradients[grid](*inputs, *gradients, *cuts, sizes.num_outputs, **flags))
    d_low, d_weight = _through_projection(scan, deltas)
    d_proj = torch.cat([d_low, d_bc.sum(0)], dim=-1)
    over_chunks = [t.view(batch, directions, chunks, *t.shape[2:]).sum((0, 2)) for t in (d_bias, d_rates, d_skip)]
    return [d_x.sum(0), d_proj, d_weight, *over_chunks]


def _through_projection(scan: Arguments, d_raw: Tensor) -> tuple[Tensor, Tensor]:
    """From (K, B, L, D), the gradient before the softplus: that of dt_low, (B, L, K, R), and of dt_weight."""
    directions, batch, length, width = d_raw.shape
    rank = scan.dt_weight.shape[1]
    flat = d_raw.view(directions, batch * length, width)
    low = scan.proj[..., :rank].float().permute(2, 0, 1, 3).reshape(directions, batch * length, rank)
    d_low = (flat @ scan.dt_weight.transpose(1, 2)).view(directions, batch, length, rank).permute(1, 2, 0, 3)
    return d_low, low.transpose(1, 2) @ flat


def _carry(scan: Arguments, states: Tensor, sums: Tensor, sizes: Sizes, plan: Plan, *, is_reversed: bool) -> Any:
    grid = (sizes.width // plan.block, sizes.states, sizes.batch * sizes.directions * sizes.segments)
    numbers = (plan.chunks_per_segment(sizes.seg_len), sizes.segments)
    constants = {"DIRECTIONS": sizes.directions, "WIDTH": sizes.width, "STATES": sizes.states, "BLOCK": plan.block}
    options: dict[str, Any] = {"UNROLL": _CARRY_UNROLL, "IS_REVERSED": is_reversed, **LAUNCH_OPTIONS}
    return carry_states[grid](scan.A_log, states, sums, *numbers, **constants, **options)


LAUNCH_OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}


def _constants(scan: Arguments, sizes: Sizes, plan: Plan, **others: int) -> dict[str, Any]:
    return {
        "DIRECTIONS": sizes.directions,
        "WIDTH": sizes.width,
        "STATES": sizes.states,
        "RANK": sizes.rank,
        "IS_EVEN": sizes.seg_len % plan.chunk == 0,
        "IN_WORDS": reads_words(scan.proj, sizes),
        **LAUNCH_OPTIONS,
        **others,
    }


def _parts(sizes: Sizes, plan: Plan) -> Iterator[tuple[int, int]]:
    """Ranges of the batch whose backward stays within the scratch memory."""
    numbers = sizes.directions * sizes.length * sizes.width * (2 + sizes.states / plan.tile)
    count = max(1, int(_BACKWARD_BYTES / (4 * numbers)))
    for first in range(0, sizes.batch, count):
        yield first, min(first + count, sizes.batch)


@functools.lru_cache(maxsize=64)
def _ranks(groups: tuple[int, ...], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Directions and their outputs: first the first direction of every output, then the second ones, and so on."""
    seen = [groups[:k].count(group) for k, group in enumerate(groups)]
    ranks = [[k for k, count in enumerate(seen) if count == rank] for rank in range(max(seen) + 1)]
    return [(_table(tuple(rank), device), _table(tuple(groups[k] for k in rank), device)) for rank in ranks]


@functools.lru_cache(maxsize=64)
def _table(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int32, device=device)
