"""Depthwise modulated deformable 3x3 sampling on a GPU; `posecli.pose.deform.deform_reference` is the definition.

Forward: a program takes one position of one window and all its frames; the 36 corners of its 9 taps, and their weights, are computed
once and used for every frame. Backward: a program takes some neighbouring positions, reads the gradient there and writes those of
their offsets and masks. What goes to the gradient of the value goes to cells that only the offsets know, so it is added by atomics:
of 64-bit integers, in units so small that nothing of a float32 is lost and so large that no sum overflows. Sums of integers do not
depend on the order, so all gradients have the same bits in every run.

Legend: B windows, T frames, H x W positions, C channels, 9 taps. float32 inside; value may be half.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_TAPS = 9
_POSITIONS = 16  # of a program of the backward


def deform_triton(value: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor) -> Tensor:
    """Sample 9 displaced taps around each position and add them up per channel; differentiable in all arguments.

    Args:
        value: (B, T, H, W, C), float32 or half, on a CUDA device.
        offsets: (B, H, W, 9, 2) in cells, (dy, dx).
        masks: (B, H, W, 9).
        weight: (9, C).

    Returns:
        (B, T, H, W, C), float32.
    """
    out: Tensor = _Deform.apply(value, offsets, masks, weight)  # type: ignore[no-untyped-call]
    return out


@triton.jit
def _corner(offsets, masks, place, position, tap, corner, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """A corner of a tap: its cell, whether that is inside the map, its vertical and horizontal share, their signs, and the mask."""
    y = 1.0 * (position // WIDTH + tap // 3 - 1) + tl.load(offsets + (place * 9 + tap) * 2)
    x = 1.0 * (position % WIDTH + tap % 3 - 1) + tl.load(offsets + (place * 9 + tap) * 2 + 1)
    top, left = tl.floor(y), tl.floor(x)
    down, right = corner // 2, corner % 2
    row, column = top + down, left + right
    # compared as numbers: an offset may be far outside what an index can hold
    is_inside = (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH)
    cell = tl.where(is_inside, row * WIDTH + column, 0.0).to(tl.int32)
    y_share, x_share = 1.0 - tl.abs(y - row), 1.0 - tl.abs(x - column)
    return cell, is_inside, y_share, x_share, 2.0 * down - 1.0, 2.0 * right - 1.0, tl.load(masks + place * 9 + tap)


@triton.jit
def deform_forward(
    value, offsets, masks, weight, out, FRAMES: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, FRAME_BLOCK: tl.constexpr,
):  # fmt: skip
    """Grid (H * W, B)."""
    position, batch = tl.program_id(0), tl.program_id(1).to(tl.int64)
    cells: tl.constexpr = HEIGHT * WIDTH
    place = batch * cells + position
    channels = tl.arange(0, BLOCK)
    is_channel = channels < CHANNELS
    frames = tl.arange(0, FRAME_BLOCK)
    is_there = (frames < FRAMES)[:, None] & is_channel[None, :]
    base = value + batch * FRAMES * cells * CHANNELS
    where = frames[:, None] * (cells * CHANNELS) + channels[None, :]
    total = tl.zeros([FRAME_BLOCK, BLOCK], tl.float32)
    for tap in tl.static_range(9):
        sampled = tl.zeros([FRAME_BLOCK, BLOCK], tl.float32)
        for corner in tl.static_range(4):
            cell, is_inside, y_share, x_share, _, _, mask = _corner(
                offsets, masks, place, position, tap, corner, HEIGHT, WIDTH
            )
            inside = tl.where(is_inside, 1.0, 0.0)
            read = tl.load(base + cell * CHANNELS + where, mask=is_there, other=0.0).to(tl.float32)
            sampled += read * (y_share * x_share * inside * mask)
        total += sampled * tl.load(weight + tap * CHANNELS + channels, mask=is_channel, other=0.0)[None, :]
    tl.store(out + (batch * FRAMES * cells + position) * CHANNELS + where, total, mask=is_there)


@triton.jit
def deform_backward(
    value, offsets, masks, weight, upstream, units, d_value, d_offsets, d_masks, d_weight, num_positions,
    FRAMES: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
    FRAME_BLOCK: tl.constexpr,
):  # fmt: skip
    """Grid (parts, B): each takes ``num_positions`` neighbouring positions. d_weight (B, parts, 9, C); d_value int64, starts at 0."""
    batch = tl.program_id(1).to(tl.int64)
    cells: tl.constexpr = HEIGHT * WIDTH
    channels = tl.arange(0, BLOCK)
    is_channel = channels < CHANNELS
    frames = tl.arange(0, FRAME_BLOCK)
    is_there = (frames < FRAMES)[:, None] & is_channel[None, :]
    where = batch * FRAMES * cells * CHANNELS + frames[:, None] * (cells * CHANNELS) + channels[None, :]
    per_unit = tl.load(units)
    part = batch * tl.num_programs(0) + tl.program_id(0)
    for tap in range(9):
        w = tl.load(weight + tap * CHANNELS + channels, mask=is_channel, other=0.0)[None, :]
        sum_weight = tl.zeros([BLOCK], tl.float32)
        first = tl.program_id(0) * num_positions
        for position in range(first, tl.minimum(first + num_positions, cells)):
            place = batch * cells + position
            dy = tl.load(upstream + position * CHANNELS + where, mask=is_there, other=0.0).to(tl.float32)
            d_row, d_column, d_mask = 0.0, 0.0, 0.0
            for corner in tl.static_range(4):
                cell, is_inside, y_share, x_share, y_sign, x_sign, mask = _corner(
                    offsets, masks, place, position, tap, corner, HEIGHT, WIDTH
                )
                inside = tl.where(is_inside, 1.0, 0.0)
                read = tl.load(value + cell * CHANNELS + where, mask=is_there, other=0.0).to(tl.float32) * inside
                share = y_share * x_share
                along = tl.sum(tl.sum(read * w * dy, 1), 0)
                d_mask += along * share
                d_row += along * y_sign * x_share * mask
                d_column += along * x_sign * y_share * mask
                sum_weight += tl.sum(read * dy, 0) * (share * mask)
                goes = channels[None, :] * 0.0 + inside > 0.0  # a vector: the interpreter joins no scalar to a mask
                counts = (dy * w * (share * mask * inside) * per_unit).to(tl.int64)
                tl.atomic_add(d_value + cell * CHANNELS + where, counts, mask=is_there & goes, sem="relaxed")
            tl.store(d_offsets + (place * 9 + tap) * 2, d_row)
            tl.store(d_offsets + (place * 9 + tap) * 2 + 1, d_column)
            tl.store(d_masks + place * 9 + tap, d_mask)
        tl.store(d_weight + (part * 9 + tap) * CHANNELS + channels, sum_weight, mask=is_channel)


class _Deform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        tensors = [tensor.detach().contiguous() for tensor in arguments]
        value = tensors[0]
        batch, _, height, width, _ = value.shape
        out = torch.empty_like(value, dtype=torch.float32)
        with torch.cuda.device_of(value):
            deform_forward[(height * width, batch)](*tensors, out, **constants(value))
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
        value, offsets, masks, weight = ctx.saved_tensors
        batch, _, height, width, channels = value.shape
        dy = upstream[0].contiguous()
        parts = -(-height * width // _POSITIONS)
        d_value = torch.zeros_like(value, dtype=torch.int64)
        d_offsets, d_masks = (torch.empty_like(t, dtype=torch.float32) for t in (offsets, masks))
        d_weight = torch.empty(batch, parts, _TAPS, channels, device=value.device)
        # the shares of a tap's corners add up to 1, so a cell gets at most one whole contribution from every tap of a window
        largest = dy.abs().amax() * weight.abs().amax() * masks.abs().amax()
        per_unit = 2.0**62 / (_TAPS * height * width) / largest.float().clamp_min(1e-18)
        with torch.cuda.device_of(value):
            written = (per_unit, d_value, d_offsets, d_masks, d_weight)
            deform_backward[(parts, batch)](value, offsets, masks, weight, dy, *written, _POSITIONS, **constants(value))
        found = ((d_value.double() / per_unit), d_offsets, d_masks, d_weight.sum((0, 1)))
        return tuple(t.to(like.dtype) for t, like in zip(found, (value, offsets, masks, weight), strict=True))


def constants(value: Tensor) -> dict[str, Any]:
    """Compile-time constants and launch options for a (B, T, H, W, C) tensor."""
    _, frames, height, width, channels = value.shape
    sizes = {"FRAMES": frames, "HEIGHT": height, "WIDTH": width, "CHANNELS": channels}
    blocks = {"BLOCK": triton.next_power_of_2(channels), "FRAME_BLOCK": triton.next_power_of_2(frames)}
    return {**sizes, **blocks, "num_warps": 4, "enable_fp_fusion": True}
