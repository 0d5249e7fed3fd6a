"""Tries the Triton kernels on a device before they are trusted there: compilers and drivers have produced wrong scans before.

A small scan in six orders, forward and backward, whole and in segments, with several chunks, against the oracle in float64 on the CPU.
Once for each process and device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from posecli.errors import DeviceError
from posecli.ssm.orders import global_orders
from posecli.ssm.reference import scan_reference
from posecli.ssm.triton_plan import Plan
from posecli.ssm.triton_scan import scan_triton

_TOLERANCE = 1e-4  # relative to the largest value; right kernels stay two orders of magnitude below
_GRID = (2, 3, 4)
_GROUPS = (0, 1, 2, 0, 1, 2)
# The segments of 24 and 12 steps are cut in several chunks; of the shorter, the last is shorter than the others.
_PLAN = Plan(chunk=8, block=16, unroll=2, keeps_deltas=True, tile=4, group=1, back_block=16)

_verdicts: dict[str, str] = {}


def require_triton(device: torch.device) -> None:
    """Try the kernels on a device, unless this was done.

    Raises:
        DeviceError: They do not run there, or give wrong results.
    """
    verdict = triton_verdict(device)
    if verdict != "ok":
        raise DeviceError(f"scan backend 'triton' cannot be used on {device}: {verdict}", "--scan-backend chunked")


def triton_verdict(device: torch.device) -> str:
    """``ok``, or what is wrong with the kernels on this device."""
    name = str(device)
    if name not in _verdicts:
        _verdicts[name] = _try(device)
    return _verdicts[name]


def triton_error(device: torch.device, scan: Callable[..., Tensor] = scan_triton) -> float:
    """Largest error relative to the largest value, over outputs and all gradients; infinite where there is a NaN."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        return _largest_error(device, scan)


def _largest_error(device: torch.device, scan: Callable[..., Tensor]) -> float:
    arguments = _small_case()
    order = torch.from_numpy(global_orders(*_GRID).copy())
    worst = 0.0
    for seg_len in (24, 12):
        expected = _results([a.double() for a in arguments], order, seg_len, scan_reference)
        on_device = [a.to(device) for a in arguments]
        computed = _results(on_device, order.to(device), seg_len, lambda *a: scan(*a, plan=_PLAN))
        for true, found in zip(expected, computed, strict=True):
            error = float((found.cpu().double() - true).abs().max() / true.abs().max())
            worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def _try(device: torch.device) -> str:
    try:
        error = triton_error(device)
    except Exception as failure:  # a compiler can fail in any way; what it says is the answer
        lines = str(failure).strip().splitlines() or [""]
        return f"the kernels do not run: {type(failure).__name__}: {lines[-1]}"
    if error > _TOLERANCE:
        return f"the self-test is off by {error:.1e}, {_TOLERANCE:.0e} allowed"
    return "ok"


def _small_case() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    directions, length, width, states, rank = 6, math.prod(_GRID), 16, 4, 4

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, proj = normal(1, length, width), normal(1, length, directions, rank + 2 * states)
    weights = normal(directions, rank, width), normal(directions, width) - 2
    return [x, proj, *weights, normal(directions, states, width) * 0.5, normal(directions, width)]


def _results(arguments: list[Tensor], order: Tensor, seg_len: int, scan: Callable[..., Tensor]) -> list[Tensor]:
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    y = scan(*leaves, order, _GROUPS, seg_len)
    upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]
