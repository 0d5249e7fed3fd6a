"""LayerNorm(main) * SiLU(LayerNorm(gate)) on a GPU: one pass over both tensors forward, one backward.

A program takes some rows at a time and all their channels, so both means and variances stay in registers; the backward computes them
again instead of keeping them. Gradients of the weights are summed in parts, one a program, and then over the parts: no atomics, the
same bits in every run.

Legend: M rows (tokens), E channels. float32 inside, whatever the tensors hold.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_ELEMENTS = 2048  # of a program's tile
_PARTS = 512  # programs of the backward, each with its own sums


def norm_gate_triton(
    main: Tensor,
    gate: Tensor,
    main_weight: Tensor,
    main_bias: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    eps: float,
) -> Tensor:
    """``LayerNorm(main) * SiLU(LayerNorm(gate))`` over the last axis, differentiable in all tensors.

    Args:
        main: (..., E), float32 or half, on a CUDA device.
        gate: The same shape.
        main_weight: (E,).
        main_bias: (E,).
        gate_weight: (E,).
        gate_bias: (E,).
        eps: Of both norms.

    Returns:
        (..., E), of the type of ``main``.
    """
    tensors = (main, gate, main_weight, main_bias, gate_weight, gate_bias)
    out: Tensor = _NormGate.apply(*tensors, eps)  # type: ignore[no-untyped-call]
    return out


@triton.jit
def _normalise(x, is_channel, eps, CHANNELS: tl.constexpr):
    """Rows with mean 0 and variance 1, and what they were multiplied by; 0 where there is no channel."""
    centred = tl.where(is_channel, x - tl.sum(x, 1)[:, None] / CHANNELS, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / CHANNELS + eps)
    return centred * scale[:, None], scale


@triton.jit
def _through_norm(d_scaled, normed, scale, CHANNELS: tl.constexpr):
    """From the gradient of the normalised rows to that of the rows."""
    mean = tl.sum(d_scaled, 1)[:, None] / CHANNELS
    along = tl.sum(d_scaled * normed, 1)[:, None] / CHANNELS
    return (d_scaled - mean - normed * along) * scale[:, None]


@triton.jit
def norm_gate_forward(
    main, gate, main_weight, main_bias, gate_weight, gate_bias, out, num_rows, eps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Grid (M / ROWS,)."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channels = tl.arange(0, BLOCK)
    is_channel = channels < CHANNELS
    is_there = (rows < num_rows)[:, None] & is_channel[None, :]
    where = rows[:, None] * CHANNELS + channels[None, :]
    x = tl.load(main + where, mask=is_there, other=0.0).to(tl.float32)
    z = tl.load(gate + where, mask=is_there, other=0.0).to(tl.float32)
    w = tl.load(main_weight + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    b = tl.load(main_bias + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    v = tl.load(gate_weight + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    c = tl.load(gate_bias + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    x, _ = _normalise(x, is_channel[None, :], eps, CHANNELS)
    z, _ = _normalise(z, is_channel[None, :], eps, CHANNELS)
    z = z * v + c
    y = (x * w + b) * z * tl.sigmoid(z)
    tl.store(out + where, y.to(out.dtype.element_ty), mask=is_there)


@triton.jit
def norm_gate_backward(
    main, gate, main_weight, main_bias, gate_weight, gate_bias, upstream, d_main, d_gate, sums, num_rows, eps, num_steps,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Grid (parts,): each takes ``num_steps`` times ROWS neighbouring rows. sums (parts, 4, E): of both weights and biases."""
    channels = tl.arange(0, BLOCK)
    is_channel = channels < CHANNELS
    w = tl.load(main_weight + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    b = tl.load(main_bias + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    v = tl.load(gate_weight + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    c = tl.load(gate_bias + channels, mask=is_channel, other=0.0).to(tl.float32)[None, :]
    sum_w, sum_b = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    sum_v, sum_c = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    part = tl.program_id(0).to(tl.int64)
    for step in range(num_steps):
        rows = (part * num_steps + step) * ROWS + tl.arange(0, ROWS)
        is_there = (rows < num_rows)[:, None] & is_channel[None, :]
        where = rows[:, None] * CHANNELS + channels[None, :]
        x = tl.load(main + where, mask=is_there, other=0.0).to(tl.float32)
        z = tl.load(gate + where, mask=is_there, other=0.0).to(tl.float32)
        dy = tl.load(upstream + where, mask=is_there, other=0.0).to(tl.float32)
        x, x_scale = _normalise(x, is_channel[None, :], eps, CHANNELS)
        z, z_scale = _normalise(z, is_channel[None, :], eps, CHANNELS)
        gated = z * v + c
        share = tl.sigmoid(gated)
        da = dy * gated * share
        dz = dy * (x * w + b) * share * (1.0 + gated * (1.0 - share))
        sum_w += tl.sum(da * x, 0)
        sum_b += tl.sum(da, 0)
        sum_v += tl.sum(dz * z, 0)
        sum_c += tl.sum(dz, 0)
        dx = _through_norm(da * w, x, x_scale, CHANNELS)
        dz = _through_norm(dz * v, z, z_scale, CHANNELS)
        tl.store(d_main + where, dx.to(d_main.dtype.element_ty), mask=is_there)
        tl.store(d_gate + where, dz.to(d_gate.dtype.element_ty), mask=is_there)
    place = sums + part * 4 * CHANNELS + channels
    tl.store(place, sum_w, mask=is_channel)
    tl.store(place + CHANNELS, sum_b, mask=is_channel)
    tl.store(place + 2 * CHANNELS, sum_v, mask=is_channel)
    tl.store(place + 3 * CHANNELS, sum_c, mask=is_channel)


class _NormGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        tensors = [tensor.detach().contiguous() for tensor in arguments[:6]]
        main, ctx.eps = tensors[0], arguments[6]
        out = torch.empty_like(main)
        constants = tile(main.shape[-1])
        num_rows = main.numel() // main.shape[-1]
        with torch.cuda.device_of(main):
            grid = (-(-num_rows // constants["ROWS"]),)
            norm_gate_forward[grid](*tensors, out, num_rows, ctx.eps, **constants)
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        tensors = list(ctx.saved_tensors)
        main, gate = tensors[:2]
        constants = tile(main.shape[-1])
        num_rows = main.numel() // main.shape[-1]
        num_tiles = -(-num_rows // constants["ROWS"])
        num_steps = -(-num_tiles // _PARTS)
        parts = -(-num_tiles // num_steps)
        d_main, d_gate = torch.empty_like(main), torch.empty_like(gate)
        sums = torch.empty(parts, 4, main.shape[-1], device=main.device)
        with torch.cuda.device_of(main):
            written = (upstream[0].contiguous(), d_main, d_gate, sums)
            norm_gate_backward[(parts,)](*tensors, *written, num_rows, ctx.eps, num_steps, **constants)
        weights = [total.to(t.dtype) for total, t in zip(sums.sum(0).unbind(), tensors[2:], strict=True)]
        return (d_main, d_gate, *weights, None)


def tile(channels: int) -> dict[str, Any]:
    """Compile-time constants and launch options for rows of so many channels."""
    block = triton.next_power_of_2(channels)
    rows = max(1, _ELEMENTS // block)
    return {"CHANNELS": channels, "BLOCK": block, "ROWS": rows, "num_warps": 4, "enable_fp_fusion": True}
