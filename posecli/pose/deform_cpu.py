"""Deformable sampling on a CPU: numba kernels, forward and backward; the definition is `posecli.pose.deform.deform_reference`.

Where the corners of a tap lie, and their bilinear shares, is worked out once per position and used for all frames. The inner loops run
over channels, which lie side by side in memory, so the compiler turns them into vector instructions.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from posecli.ssm.threads import run_tasks

_TAPS = 9
_JIT: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    # reassociation lets dot products be vectorised; NaN and infinity must still come through
    "fastmath": {"reassoc", "contract", "nsz"},
}


def deform_cpu(value: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor) -> Tensor:
    """As `posecli.pose.deform.deform_sample`; float32 on the CPU."""
    result: Tensor = _Deform.apply(value, offsets, masks, weight)  # type: ignore[no-untyped-call]
    return result


class _Deform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor) -> Tensor:
        tensors = [tensor.detach().contiguous() for tensor in (value, offsets, masks, weight)]
        out = torch.empty_like(tensors[0])
        batch, _, height = value.shape[:3]
        run_tasks(_forward, batch * height, *(t.numpy() for t in tensors), out.numpy())
        ctx.save_for_backward(*tensors)
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, ...]:
        value, offsets, masks, weight = ctx.saved_tensors
        gradients = [torch.zeros_like(tensor) for tensor in (value, offsets, masks)]
        d_weight = weight.new_zeros(value.shape[0], *weight.shape)
        arrays = [t.detach().contiguous().numpy() for t in (upstream[0], value, offsets, masks, weight)]
        run_tasks(_backward, value.shape[0], *arrays, *(t.numpy() for t in gradients), d_weight.numpy())
        return (*gradients, d_weight.sum(0))


@nb.njit(inline="always")
def _corners(y: Any, x: Any, height: int, width: int, index: Any, share: Any) -> None:
    """The four cells around (y, x): flat index and bilinear share; share 0 and index 0 for those outside the map."""
    top, left = np.floor(y), np.floor(x)
    fy, fx = y - top, x - left
    for corner in range(4):
        down, right = corner // 2, corner % 2
        row, column = top + down, left + right
        if 0 <= row < height and 0 <= column < width:
            index[corner] = int(row) * width + int(column)
            share[corner] = (fy if down else 1 - fy) * (fx if right else 1 - fx)
        else:
            index[corner] = -1
            share[corner] = 0.0


@nb.njit(**_JIT)
def _sum_taps(plane: Any, index: Any, share: Any, weight: Any, sampled: Any, total: Any) -> None:
    """One position of one frame: the weighted sum of all taps' bilinear samples, into ``total``."""
    channels = plane.shape[1]
    total[:] = np.float32(0.0)
    for tap in range(_TAPS):
        sampled[:] = np.float32(0.0)
        for corner in range(4):
            if index[tap, corner] >= 0:
                cell, part = plane[index[tap, corner]], share[tap, corner]
                for c in range(channels):
                    sampled[c] += part * cell[c]
        for c in range(channels):
            total[c] += weight[tap, c] * sampled[c]


@nb.njit(**_JIT)
def _forward(value: Any, offsets: Any, masks: Any, weight: Any, out: Any, first: int, last: int) -> None:
    """Tasks are rows (b, y)."""
    _, frames, height, width, channels = value.shape
    index = np.empty((_TAPS, 4), np.int64)
    share = np.empty((_TAPS, 4), np.float32)
    sampled = np.empty(channels, np.float32)
    total = np.empty(channels, np.float32)
    for task in range(first, last):
        b, y = task // height, task % height
        for x in range(width):
            for tap in range(_TAPS):
                at_y = np.float32(y + tap // 3 - 1) + offsets[b, y, x, tap, 0]
                at_x = np.float32(x + tap % 3 - 1) + offsets[b, y, x, tap, 1]
                _corners(at_y, at_x, height, width, index[tap], share[tap])
                for corner in range(4):
                    share[tap, corner] *= masks[b, y, x, tap]
            for t in range(frames):
                plane = value[b, t].reshape(height * width, channels)
                _sum_taps(plane, index, share, weight, sampled, total)
                for c in range(channels):
                    out[b, t, y, x, c] = total[c]


@nb.njit(**_JIT)
def _backward(
    upstream: Any,
    value: Any,
    offsets: Any,
    masks: Any,
    weight: Any,
    d_value: Any,
    d_offsets: Any,
    d_masks: Any,
    d_weight: Any,
    first: int,
    last: int,
) -> None:
    """Tasks are windows b: positions of one window write to the same cells."""
    _, frames, height, width, channels = value.shape
    index = np.empty(4, np.int64)
    share = np.empty(4, np.float32)
    dots = np.empty(4, np.float32)
    flow = np.empty(channels, np.float32)
    for b in range(first, last):
        for y in range(height):
            for x in range(width):
                for tap in range(_TAPS):
                    at_y = np.float32(y + tap // 3 - 1) + offsets[b, y, x, tap, 0]
                    at_x = np.float32(x + tap % 3 - 1) + offsets[b, y, x, tap, 1]
                    _corners(at_y, at_x, height, width, index, share)
                    fy, fx = at_y - np.floor(at_y), at_x - np.floor(at_x)
                    mask = masks[b, y, x, tap]
                    dots[:] = np.float32(0.0)
                    for t in range(frames):
                        plane = value[b, t].reshape(height * width, channels)
                        d_plane = d_value[b, t].reshape(height * width, channels)
                        above = upstream[b, t, y, x]
                        for c in range(channels):
                            flow[c] = above[c] * weight[tap, c]
                        for corner in range(4):
                            if index[corner] < 0:
                                continue
                            cell, d_cell = plane[index[corner]], d_plane[index[corner]]
                            part = share[corner] * mask
                            dot = np.float32(0.0)
                            for c in range(channels):
                                dot += flow[c] * cell[c]
                                d_cell[c] += part * flow[c]
                                d_weight[b, tap, c] += part * above[c] * cell[c]
                            dots[corner] += dot
                    d_masks[b, y, x, tap] = (
                        share[0] * dots[0] + share[1] * dots[1] + share[2] * dots[2] + share[3] * dots[3]
                    )
                    d_offsets[b, y, x, tap, 0] = mask * ((1 - fx) * (dots[2] - dots[0]) + fx * (dots[3] - dots[1]))
                    d_offsets[b, y, x, tap, 1] = mask * ((1 - fy) * (dots[1] - dots[0]) + fy * (dots[3] - dots[2]))
