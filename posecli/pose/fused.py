"""What a block does between its matrix products and its scan, each step in one pass over memory.

Written out in plain torch these steps are a dozen passes over the tokens and weigh as much as the scan. Every function here *is* its
plain definition, and takes a kernel to the same numbers where there is one: on a CPU for inference, on a GPU also for training.

Legend: B windows, T frames, H x W tokens of a frame, E channels.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from posecli.pose.triton_trust import trusts_triton

_LANES = 16
_is_fusing = True


@contextmanager
def unfused() -> Iterator[None]:
    """Everything by its plain definition while this lasts, in all threads: the oracle of checks, and what counters can hook."""
    global _is_fusing
    before, _is_fusing = _is_fusing, False
    try:
        yield
    finally:
        _is_fusing = before


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer norm over the channels, (..., E) -> the same shape."""
    if _has_cpu_kernel(x):
        from posecli.pose.fused_cpu import layer_norm_cpu

        return layer_norm_cpu(x, norm.weight, norm.bias, norm.eps)
    normed: Tensor = norm(x)
    return normed


def add_norm(x: Tensor, branch: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """The sum of two (..., E) tensors, and its layer norm."""
    if _has_cpu_kernel(x, branch):
        from posecli.pose.fused_cpu import add_norm_cpu

        return add_norm_cpu(x, branch, norm.weight, norm.bias, norm.eps)
    total = x + branch
    return total, norm(total)


def norm_gate(main: Tensor, gate: Tensor, main_norm: nn.LayerNorm, gate_norm: nn.LayerNorm) -> Tensor:
    """``LayerNorm(main) * SiLU(LayerNorm(gate))``, (..., E) twice -> the same shape (GSM's and LRM's gate, A4.2).

    Both norms have the same epsilon.
    """
    weights = (main_norm.weight, main_norm.bias, gate_norm.weight, gate_norm.bias)
    if _has_cpu_kernel(main, gate):
        from posecli.pose.fused_cpu import norm_gate_cpu

        return norm_gate_cpu(main, gate, *weights, main_norm.eps)
    if _is_fusing and trusts_triton(main.device):
        from posecli.pose.norm_gate_triton import norm_gate_triton

        return norm_gate_triton(main, gate, *weights, main_norm.eps)
    return main_norm(main) * functional.silu(gate_norm(gate))


def depthwise(x: Tensor, conv: nn.Conv2d, *, has_silu: bool = False) -> Tensor:
    """3x3 convolution per channel and frame, then SiLU if wanted.

    Args:
        x: (B, T, H, W, E); channels side by side, but the tokens may be further apart (half of a wider tensor).
        conv: Depthwise, 3x3, padding 1, with bias.
        has_silu: Whether SiLU follows.

    Returns:
        (B, T, H, W, E).
    """
    if _has_cpu_kernel(x, is_contiguous=False):
        from posecli.pose.fused_cpu import depthwise_cpu

        return depthwise_cpu(x, conv.weight, conv.bias, has_silu=has_silu)
    y = conv(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    y = torch.unflatten(y, 0, tuple(x.shape[:2]))
    return functional.silu(y) if has_silu else y


def _has_cpu_kernel(*tensors: Tensor, is_contiguous: bool = True) -> bool:
    x = tensors[0]
    if not _is_fusing or torch.is_grad_enabled() or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    if x.shape[-1] % _LANES or not _has_numba():
        return False
    return all(t.dtype == torch.float32 and (t.is_contiguous() or not is_contiguous) for t in tensors)


def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None
