"""The selective scan on a CPU: numba kernels in float32, no permuted copy of anything.

Forward and backward are one pass each over all directions; see ``cpu_forward.py`` for the layout of the arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from posecli.ssm.cpu_backward import Gradients, backward_scratch, scan_backward
from posecli.ssm.cpu_forward import Inputs, Sizes, count_tiles, forward_scratch, scan_forward
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
        (batch, length, width), (directions, state_size, _), rank = x.shape, A_log.shape, dt_weight.shape[1]
        num_outputs = max(groups) + 1
        num_groups = _even_parts(width, torch.get_num_threads(), batch * num_outputs)
        cuts = (_rows(state_size), _rows(rank), num_groups)
        sizes = Sizes(length, width, directions, state_size, rank, num_outputs, seg_len, *cuts)
        num_saved = batch * directions * count_tiles(sizes)[0] * width * state_size
        saved = x.new_empty(num_saved if any(ctx.needs_input_grad) else 0)
        y = x.new_empty(batch, num_outputs, length, width)
        rate = -torch.exp(A_log)
        skip = D.new_zeros(num_outputs, width).index_add(0, torch.tensor(groups), D)
        tensors = [tensor.contiguous() for tensor in (x, proj, dt_weight, dt_bias, rate, skip, order)]
        operands = _operands(tensors, groups)
        num_tasks = batch * num_outputs * num_groups
        scratch = x.new_empty(num_tasks * forward_scratch(sizes))
        written = (y.data_ptr(), saved.data_ptr() if saved.numel() else 0, scratch.data_ptr())
        rows = Rows(sizes.num_states), Rows(sizes.num_ranks)
        run_tasks(scan_forward, num_tasks, _addresses(Inputs, operands), sizes, *rows, *written)
        ctx.save_for_backward(*tensors, saved)
        ctx.groups, ctx.sizes = groups, sizes
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, saved = ctx.saved_tensors
        x, proj, dt_weight, dt_bias, rate, skip, _ = tensors
        batch = x.shape[0]
        sizes: Sizes = ctx.sizes._replace(num_groups=_channel_groups(x.shape[2], _BACKWARD_TASKS, batch))
        dx = torch.empty_like(x)
        d_proj = x.new_empty(sizes.num_groups, *proj.shape)
        sums = [x.new_zeros(batch, *parameter.shape) for parameter in (dt_weight, dt_bias, rate, skip)]
        operands = _operands(tensors, ctx.groups)
        written = [upstream[0].contiguous(), saved, dx, d_proj, *sums]
        num_tasks = batch * sizes.num_groups
        scratch = x.new_empty(num_tasks * backward_scratch(sizes))
        addresses = _addresses(Inputs, operands), _addresses(Gradients, written)
        rows = Rows(sizes.num_states), Rows(sizes.num_ranks)
        run_tasks(scan_backward, num_tasks, *addresses, sizes, *rows, scratch.data_ptr(), num_tasks)
        d_proj = d_proj[0] if sizes.num_groups == 1 else d_proj.sum(0)
        d_weight, d_bias, d_rate, d_skip = (tensor.sum(0) for tensor in sums)
        return dx, d_proj, d_weight, d_bias, d_rate * rate, d_skip[list(ctx.groups)], None, None, None


def _operands(tensors: list[Tensor], groups: tuple[int, ...]) -> list[Tensor]:
    """The tensors of ``Inputs`` in its order."""
    *before, rate, skip, order = tensors
    is_first = [int(group not in groups[:k]) for k, group in enumerate(groups)]
    tables = [torch.tensor(values, dtype=torch.int32) for values in (groups, is_first)]
    return [*before, rate * _LOG2_E, skip, order, *tables]


def _addresses(kind: Callable[..., Any], tensors: list[Tensor]) -> Any:
    """Where contiguous tensors lie. The caller must hold on to them."""
    return kind(*(tensor.data_ptr() for tensor in tensors))


def _rows(count: int) -> int:
    """The largest divisor of ``count`` that fits in registers: the kernels take ``count`` in blocks of it."""
    return next(rows for rows in range(min(count, _MAX_ROWS), 0, -1) if count % rows == 0)


def _even_parts(width: int, num_threads: int, rows: int) -> int:
    """Into how few parts of a multiple of 16 to split D, so that the parts of all rows are the same number for every thread."""
    blocks = width // LANES
    divisors = [count for count in range(1, blocks + 1) if blocks % count == 0]
    return next((count for count in divisors if rows * count % num_threads == 0), blocks)


def _channel_groups(width: int, num_tasks: int, batch: int) -> int:
    """Into how many parts of a multiple of 16 to split D, so that there are about ``num_tasks`` tasks."""
    blocks = width // LANES
    wanted = min(blocks, -(-num_tasks // batch))
    return next(count for count in range(wanted, blocks + 1) if blocks % count == 0)
