"""The selective scan on a CPU: numba kernels in float32, no permuted copy of anything.

Forward and backward are one pass each over all directions; see ``cpu_forward.py`` for the layout of the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from posecli.ssm.cpu_backward import scan_backward
from posecli.ssm.cpu_forward import TILE, scan_forward
from posecli.ssm.simd import LANES, Rows
from posecli.ssm.threads import run_tasks

_LOG2_E = 1.4426950408889634
_MAX_ROWS = 8  # of states or ranks held in registers at a time
_BACKWARD_TASKS = 8  # wanted; fixed, so that results do not depend on the number of threads


def scan_cpu(
    x: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    order: Tensor,
    groups: tuple[int, ...],
    seg_len: int,
) -> Tensor:
    """Same arguments and result as ``posecli.ssm.scan.multi_scan``, checked and complete; float32, D a multiple of 16."""
    result: Tensor = _CpuScan.apply(x, proj, dt_weight, dt_bias, A_log, D, order, groups, seg_len)  # type: ignore[no-untyped-call]
    return result


class _CpuScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        proj: Tensor,
        dt_weight: Tensor,
        dt_bias: Tensor,
        A_log: Tensor,
        D: Tensor,
        order: Tensor,
        groups: tuple[int, ...],
        seg_len: int,
    ) -> Tensor:
        batch, length, width = x.shape
        tensors = [tensor.detach().contiguous() for tensor in (x, proj, dt_weight, dt_bias)]
        rate = -torch.exp(A_log.detach()).contiguous()
        tables = _Tables(order, groups, D.detach())
        sizes = _sizes(length, rate, dt_weight, tables.num_slots, seg_len)
        keep_states = any(ctx.needs_input_grad)
        num_tiles = (length // seg_len) * -(-seg_len // TILE)
        saved = x.new_empty(batch * rate.shape[0] * num_tiles * rate.shape[1] * width if keep_states else 0)
        y = x.new_empty(batch, tables.num_slots, length, width)
        num_groups = _channel_groups(width, torch.get_num_threads(), batch)
        inputs = [*tensors, rate * _LOG2_E, tables.skip, tables.order, tables.slot, tables.first, y, saved]
        blocks = (Rows(sizes[-2]), Rows(sizes[-1]))
        arrays = [_flat(tensor) for tensor in inputs]
        run_tasks(scan_forward, batch * num_groups, *arrays, sizes, keep_states, *blocks, num_groups)
        ctx.save_for_backward(*tensors, rate, saved)
        ctx.tables, ctx.sizes = tables, sizes
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, proj, dt_weight, dt_bias, rate, saved = ctx.saved_tensors
        tables: _Tables = ctx.tables
        (batch, _, width), (directions, state_size, _), rank = x.shape, rate.shape, dt_weight.shape[1]
        num_groups = _channel_groups(width, _BACKWARD_TASKS, batch)
        dx = torch.empty_like(x)
        dproj = x.new_empty(num_groups, *proj.shape)
        d_weight = x.new_zeros(batch, directions, rank, width)
        d_bias = x.new_zeros(batch, directions, width)
        d_rate = x.new_zeros(batch, directions, state_size, width)
        d_skip = x.new_zeros(batch, tables.num_slots, width)
        inputs = [gradients[0].contiguous(), x, proj, dt_weight, dt_bias, rate * _LOG2_E, tables.skip]
        inputs += [tables.order, tables.slot, tables.first, saved, dx, dproj, d_weight, d_bias, d_rate, d_skip]
        blocks = (Rows(ctx.sizes[-2]), Rows(ctx.sizes[-1]))
        arrays = [_flat(tensor) for tensor in inputs]
        run_tasks(scan_backward, batch * num_groups, *arrays, ctx.sizes, *blocks, num_groups)
        dproj = dproj[0] if num_groups == 1 else dproj.sum(0)
        d_D = d_skip.sum(0)[list(tables.groups)]
        return dx, dproj, d_weight.sum(0), d_bias.sum(0), d_rate.sum(0) * rate, d_D, None, None, None


class _Tables:
    """The order and, per direction, its output slot, and whether it is the first of its slot and so starts the sum there."""

    def __init__(self, order: Tensor, groups: tuple[int, ...], D: Tensor) -> None:
        self.groups = groups
        self.num_slots = max(groups) + 1
        self.order = order.to(torch.int32).contiguous()
        self.slot = torch.tensor(groups)
        self.first = torch.tensor([int(group not in groups[:k]) for k, group in enumerate(groups)])
        self.skip = D.new_zeros(self.num_slots, D.shape[1]).index_add(0, self.slot, D)


def _flat(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.reshape(-1).numpy()


def _sizes(length: int, rate: Tensor, dt_weight: Tensor, num_slots: int, seg_len: int) -> tuple[int, ...]:
    directions, state_size, width = rate.shape
    rank = dt_weight.shape[1]
    return length, width, directions, state_size, rank, num_slots, seg_len, _rows(state_size), _rows(rank)


def _rows(count: int) -> int:
    """The largest divisor of ``count`` that fits in registers: the kernels take ``count`` in blocks of it."""
    return next(rows for rows in range(min(count, _MAX_ROWS), 0, -1) if count % rows == 0)


def _channel_groups(width: int, num_tasks: int, batch: int) -> int:
    """Into how many parts of a multiple of 16 to split D, so that there are about ``num_tasks`` tasks."""
    blocks = width // LANES
    wanted = min(blocks, -(-num_tasks // batch))
    return next(count for count in range(wanted, blocks + 1) if blocks % count == 0)
