"""The selective scan by mamba-ssm's CUDA kernel, for comparison and for those who trust it more; only when asked for by name.

Only the compiled module ``selective_scan_cuda`` is imported, not the package around it, which imports far more than it needs.
Convention (mamba-ssm 2.2 and 2.3; B batch, E channels, L steps, N states, G groups of channels that share B and C):

    fwd(u, delta, A, B, C, D, z, delta_bias, delta_softplus) -> out, x, *rest
    bwd(u, delta, A, B, C, D, z, delta_bias, dout, x, out, dz, delta_softplus, recompute_out_z)
        -> du, ddelta, dA, dB, dC, dD, ddelta_bias, *rest

    u, delta, out (B, E, L) with L contiguous, A (E, N), B and C (B, G, N, L), D and delta_bias (E,), all float32; x is kept for bwd.

All K directions are one call with E = K * D channels in K groups, as VMamba does: K calls would leave a GPU idle at a small batch. The
kernel knows no orders, so x, delta, B and C are gathered K times before it; segments become items of the batch.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from posecli.errors import DeviceError

_MODULE = "selective_scan_cuda"


def scan_mamba(
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
    """Same arguments and result as ``posecli.ssm.scan.multi_scan``, checked and complete; float32.

    Raises:
        DeviceError: mamba-ssm's kernel cannot be imported.
    """
    load_kernel()
    (batch, length, width), (directions, rank, _) = x.shape, dt_weight.shape
    rows = order.long()
    every = torch.arange(directions, device=x.device)[:, None]
    numbers = proj[:, rows, every]  # (B, K, L, R + 2 N)
    b, c = numbers[..., rank:].chunk(2, dim=-1)
    sequences = [_to_kernel(t, seg_len) for t in (x[:, rows], numbers[..., :rank] @ dt_weight, b, c)]
    u, delta = (t.flatten(1, 2) for t in sequences[:2])
    A = -torch.exp(A_log).transpose(1, 2).reshape(directions * width, -1)
    out: Tensor = _MambaScan.apply(u, delta, A, *sequences[2:], D.reshape(-1), dt_bias.reshape(-1))  # type: ignore[no-untyped-call]
    visited = out.view(batch, length // seg_len, directions, width, seg_len).permute(2, 0, 1, 4, 3)
    by_direction = visited.reshape(directions, batch, length, width)
    outputs = [torch.zeros_like(x) for _ in range(max(groups) + 1)]
    for k, group in enumerate(groups):
        outputs[group] = outputs[group].index_add(1, rows[k], by_direction[k])
    return torch.stack(outputs, dim=1)


def load_kernel() -> Any:
    """The compiled module.

    Raises:
        DeviceError: It is not there or does not load, for example because torch was updated since it was built.
    """
    try:
        return importlib.import_module(_MODULE)
    except Exception as error:  # undefined symbols, missing libraries, wrong CUDA: any of them, and any kind of error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DeviceError(
            f"scan backend 'mamba': {_MODULE} cannot be imported: {lines[0]}",
            "build mamba-ssm for this torch with MAMBA_KEEP_CUDA_BUILD=TRUE, or choose --scan-backend auto",
        ) from error


def _to_kernel(sequence: Tensor, seg_len: int) -> Tensor:
    """(B, K, L, C) in scan order -> (B * segments, K, C, seg_len)."""
    batch, directions, length, channels = sequence.shape
    cut = sequence.view(batch, directions, length // seg_len, seg_len, channels)
    return cut.permute(0, 2, 1, 4, 3).reshape(-1, directions, channels, seg_len).contiguous()


class _MambaScan(torch.autograd.Function):
    """u and delta (B, E, L), A (E, N), b and c (B, G, N, L), D and bias (E,) -> (B, E, L)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, b: Tensor, c: Tensor, D: Tensor, bias: Tensor) -> Tensor:
        tensors = [tensor.contiguous() for tensor in (u, delta, A, b, c, D)]
        bias = bias.contiguous()
        out, kept, *_ = load_kernel().fwd(*tensors, None, bias, True)
        ctx.save_for_backward(*tensors, bias, kept)
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, bias, kept = ctx.saved_tensors
        dout = upstream[0].contiguous()
        found = load_kernel().bwd(*tensors, None, bias, dout, kept, None, None, True, False)
        return tuple(found[:7])
