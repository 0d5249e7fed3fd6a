"""Depthwise modulated deformable 3x3 sampling, the operation inside STMM (deformable convolution v2, one offset group).

Legend: B windows, T frames, H x W positions, C channels, 9 taps in row-major order. Offsets and masks are shared over the frames of a
window. Channels-last; zero outside the map; bilinear between cells.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from posecli.errors import DeviceError
from posecli.pose.triton_trust import trusts_triton
from posecli.ssm import ShapeError

_TAPS = 9
_CHANNEL_MULTIPLE = 16


def deform_sample(value: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor, *, backend: str = "auto") -> Tensor:
    """Sample 9 displaced taps around each position and add them up per channel.

    out[b, t, y, x, c] = sum_k weight[k, c] masks[b, y, x, k] value[b, t, (y, x) + tap_k + offsets[b, y, x, k], c]

    Args:
        value: (B, T, H, W, C).
        offsets: (B, H, W, 9, 2) in cells, (dy, dx), added to the regular taps.
        masks: (B, H, W, 9).
        weight: (9, C).
        backend: ``reference`` (plain torch, any device and floating type), ``cpu`` (numba kernel, float32, C a multiple of 16),
            ``triton`` (CUDA devices), or ``auto``.

    Returns:
        (B, T, H, W, C); float32, or float64 where ``value`` is.

    Raises:
        ShapeError: C is not a multiple of 16 on ``cpu``.
        DeviceError: The backend is unknown or not available for these tensors.
    """
    name = _resolve(value, backend)
    if name == "cpu" and value.shape[-1] % _CHANNEL_MULTIPLE:
        raise ShapeError(
            f"deformable sampling of {value.shape[-1]} channels: not a multiple of {_CHANNEL_MULTIPLE}",
            "widen it, or choose backend reference",
        )
    dtype = torch.float64 if value.dtype == torch.float64 else torch.float32
    with torch.autocast(value.device.type, enabled=False):
        arguments = [tensor.to(dtype) for tensor in (value, offsets, masks, weight)]
        if name == "reference":
            return deform_reference(arguments[0], arguments[1], arguments[2], arguments[3])
        if name == "triton":
            from posecli.pose.deform_triton import deform_triton

            return deform_triton(arguments[0], arguments[1], arguments[2], arguments[3])
        from posecli.pose.deform_cpu import deform_cpu

        return deform_cpu(arguments[0], arguments[1], arguments[2], arguments[3])


def deform_reference(value: Tensor, offsets: Tensor, masks: Tensor, weight: Tensor) -> Tensor:
    """The definition, tap by tap and corner by corner; arguments as `deform_sample`."""
    batch, frames, height, width, channels = value.shape
    flat = value.reshape(batch, frames, height * width, channels)
    ys = torch.arange(height, device=value.device, dtype=value.dtype).view(1, height, 1)
    xs = torch.arange(width, device=value.device, dtype=value.dtype).view(1, 1, width)
    out = torch.zeros_like(flat)
    for tap in range(_TAPS):
        y = ys + (tap // 3 - 1) + offsets[..., tap, 0]
        x = xs + (tap % 3 - 1) + offsets[..., tap, 1]
        top, left = y.detach().floor(), x.detach().floor()
        for down in (0, 1):
            for right in (0, 1):
                row, column = (top + down).long(), (left + right).long()
                share = (1 - (y - row).abs()) * (1 - (x - column).abs()) * masks[..., tap]
                is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).view(batch, 1, -1, 1)
                picked = flat.gather(2, index.expand(batch, frames, -1, channels))
                out = out + picked * (share * is_inside).view(batch, 1, -1, 1) * weight[tap]
    return out.view_as(value)


def _resolve(value: Tensor, backend: str) -> str:
    if backend not in ("auto", "reference", "cpu", "triton"):
        raise DeviceError(f"deformable sampling has no backend {backend!r}", hint="cpu, triton, reference or auto")
    is_double = value.dtype == torch.float64
    fast = {
        "cpu": value.device.type == "cpu" and not is_double and _has_numba(),
        "triton": not is_double and trusts_triton(value.device),
    }
    if backend == "auto":
        return next((name for name, is_usable in fast.items() if is_usable), "reference")
    if backend != "reference" and not fast[backend]:
        raise DeviceError(f"deformable sampling: backend {backend} cannot take {value.dtype} on {value.device}")
    return backend


def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None
