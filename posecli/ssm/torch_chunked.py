"""The selective scan in plain torch, for where the kernels cannot run: two levels of chunks, and its own backward.

A row of L steps is cut in about sqrt(L) chunks that advance side by side, first from a zero state to learn how each chunk maps its
first state to its last, then, once the states between chunks are known, again from the true ones. Every factor is exp of a number
<= 0, so nothing overflows; the well-known way through cumulative sums and a division does. The price is computing each step twice.

Directions are done one after the other, and only the inputs are kept for the backward, so memory is a few (B, L, N, D) tensors.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad, softplus

_LINEAR_ABOVE = 40.0  # torch changes to softplus(v) = v at 20, too early for float64


def scan_chunked(
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
    """Same arguments and result as ``posecli.ssm.scan.multi_scan``, checked and complete; any device and floating type."""
    A = -torch.exp(A_log)
    outputs = [torch.zeros_like(x) for _ in range(max(groups) + 1)]
    for k, group in enumerate(groups):
        row = order[k].long()
        raw = proj[:, row, k, : dt_weight.shape[1]] @ dt_weight[k] + dt_bias[k]
        delta = softplus(raw, threshold=_LINEAR_ABOVE)
        b, c = proj[:, row, k, dt_weight.shape[1] :].chunk(2, dim=-1)
        sequence = _ChunkedScan.apply(x[:, row], delta, b, c, A[k], seg_len)  # type: ignore[no-untyped-call]
        outputs[group] = outputs[group].index_add(1, row, sequence + D[k] * x[:, row])
    return torch.stack(outputs, dim=1)


def linear_recurrence(factor: Tensor, drive: Tensor) -> Tensor:
    """States of ``h_t = factor_t * h_(t-1) + drive_t`` along dim 1, from zero.

    Args:
        factor: (B, L, N, D).
        drive: (B, L, N, D).

    Returns:
        (B, L, N, D), the state after each step.
    """
    length = drive.shape[1]
    steps = max(1, math.isqrt(length))
    chunks = -(-length // steps)
    missing = chunks * steps - length
    # a padded step keeps the state: factor 1, drive 0
    factor = pad(factor, (0, 0, 0, 0, 0, missing), value=1.0).unflatten(1, (chunks, steps))
    drive = pad(drive, (0, 0, 0, 0, 0, missing)).unflatten(1, (chunks, steps))
    end, gain = torch.zeros_like(drive[:, :, 0]), torch.ones_like(factor[:, :, 0])
    for a, u in zip(factor.unbind(2), drive.unbind(2), strict=True):
        end, gain = torch.addcmul(u, a, end), gain * a
    h = torch.zeros_like(end)
    for chunk in range(1, chunks):
        h[:, chunk] = torch.addcmul(end[:, chunk - 1], gain[:, chunk - 1], h[:, chunk - 1])
    states = torch.empty_like(drive)
    for step, (a, u) in enumerate(zip(factor.unbind(2), drive.unbind(2), strict=True)):
        h = torch.addcmul(u, a, h)
        states[:, :, step] = h
    return states.flatten(1, 2)[:, :length]


class _Steps(NamedTuple):
    """Tensors of one direction cut at the state resets (S = B * resets): factor and states (S, T, N, D), gain (S, T, D)."""

    factor: Tensor
    states: Tensor
    gain: Tensor


def _run(x: Tensor, delta: Tensor, b: Tensor, A: Tensor) -> _Steps:
    gain = delta * x
    factor = torch.exp(delta[:, :, None] * A)
    return _Steps(factor, linear_recurrence(factor, gain[:, :, None] * b[..., None]), gain)


class _ChunkedScan(torch.autograd.Function):
    """One direction, tokens in scan order: x and delta (B, L, D), b and c (B, L, N), A (N, D) -> C . h, (B, L, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, b: Tensor, c: Tensor, A: Tensor, seg_len: int) -> Tensor:
        ctx.save_for_backward(x, delta, b, c, A)
        ctx.seg_len = seg_len
        x_s, delta_s, b_s, c_s = (_cut(tensor, seg_len) for tensor in (x, delta, b, c))
        steps = _run(x_s, delta_s, b_s, A)
        return torch.einsum("stn,stnd->std", c_s, steps.states).reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, delta, b, c, A = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            x_s, delta_s, b_s, c_s, dy = (_cut(tensor, ctx.seg_len) for tensor in (x, delta, b, c, gradients[0]))
            steps = _run(x_s, delta_s, b_s, A)
            # adjoint: g_t = c_t dy_t + factor_(t+1) g_(t+1), the same recurrence backwards in time
            later = torch.cat([steps.factor[:, 1:], torch.zeros_like(steps.factor[:, :1])], dim=1)
            g = linear_recurrence(later.flip(1), (dy[:, :, None] * c_s[..., None]).flip(1)).flip(1)
            before = torch.cat([torch.zeros_like(steps.states[:, :1]), steps.states[:, :-1]], dim=1)
            change = g * steps.factor * before  # gradient of delta * A
            d_gain = torch.einsum("stnd,stn->std", g, b_s)
            d_delta = d_gain * x_s + torch.einsum("stnd,nd->std", change, A)
            d_b = torch.einsum("stnd,std->stn", g, steps.gain)
            d_c = torch.einsum("std,stnd->stn", dy, steps.states)
            d_A = torch.einsum("stnd,std->nd", change, delta_s)
        d_x = (d_gain * delta_s).reshape(x.shape)
        return d_x, d_delta.reshape(x.shape), d_b.reshape(b.shape), d_c.reshape(c.shape), d_A, None


def _cut(tensor: Tensor, seg_len: int) -> Tensor:
    return tensor.reshape(-1, seg_len, tensor.shape[-1])
