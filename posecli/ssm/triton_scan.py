"""The selective scan on a GPU: Triton kernels, forward and backward, no permuted copy of anything.

x and proj are read as they are, float32, bfloat16 or float16; everything inside and the output are float32, because a sum of several
directions rounded to 16 bits at each of them would lose more than the bytes save. Gradients have the types of their tensors.

``triton_forward.py`` says how the work is cut, ``triton_launch.py`` what is deterministic (everything), ``triton_tuning.py`` how the
sizes of the blocks are found.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from posecli.ssm.triton_launch import Arguments, run_backward, run_forward
from posecli.ssm.triton_plan import Plan, Sizes
from posecli.ssm.triton_tuning import choose_backward, choose_forward


def scan_triton(
    x: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    order: Tensor,
    groups: tuple[int, ...],
    seg_len: int,
    plan: Plan | None = None,
) -> Tensor:
    """Same arguments and result as ``posecli.ssm.scan.multi_scan``, checked and complete; x and proj float32 or half, others float32.

    Args:
        x: As in ``multi_scan``, and so on.
        proj: See there.
        dt_weight: See there.
        dt_bias: See there.
        A_log: See there.
        D: See there.
        order: See there.
        groups: See there.
        seg_len: See there.
        plan: How to cut the work; measured once for each device and size, unless given.
    """
    arguments = (x, proj, dt_weight, dt_bias, A_log, D, order)
    result: Tensor = _TritonScan.apply(*arguments, groups, seg_len, plan)  # type: ignore[no-untyped-call]
    return result


class _TritonScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, groups, seg_len, plan = arguments
        scan = Arguments(*(tensor.detach().contiguous() for tensor in tensors))
        sizes = Sizes.of(scan.x, scan.proj, scan.A_log, scan.dt_weight, groups, seg_len)
        with torch.cuda.device_of(scan.x):
            chosen = choose_forward(scan, groups, sizes) if plan is None else plan
            y, states = run_forward(scan, groups, sizes, chosen)
        ctx.save_for_backward(*scan, states)
        ctx.groups, ctx.sizes, ctx.plan, ctx.is_given = groups, sizes, chosen, plan is not None
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, states = ctx.saved_tensors
        scan, dy = Arguments(*tensors), upstream[0].float().contiguous()
        with torch.cuda.device_of(scan.x), torch.autocast(scan.x.device.type, enabled=False):
            plan = ctx.plan
            if not ctx.is_given:
                plan = choose_backward(scan, ctx.groups, states, dy, ctx.sizes, plan)
            gradients = run_backward(scan, ctx.groups, states, dy, ctx.sizes, plan)
        typed = [gradient.to(tensor.dtype) for gradient, tensor in zip(gradients, tensors, strict=False)]
        return (*typed, None, None, None, None)
