"""Runs the block's Triton kernels in Triton's interpreter and prints, as JSON, how far each is from its definition in float64.

Started by ``test_triton_fused.py`` with TRITON_INTERPRET=1, which must be set before the kernels are imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from posecli.pose import deform, deform_triton, norm_gate_triton

EPS = 1e-5
deform_reference: Any = deform.deform_reference  # mypy does not count what a star unpacks in front of other arguments
fast_norm_gate: Any = norm_gate_triton.norm_gate_triton


def definition(x: Tensor, z: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Tensor:
    shape = x.shape[-1:]
    return functional.layer_norm(x, shape, w, b, EPS) * functional.silu(functional.layer_norm(z, shape, v, c, EPS))


def results(inputs: list[Tensor], work: Callable[..., Tensor]) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    y = work(*leaves)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


def compare(inputs: list[Tensor], true: Callable[..., Tensor], fast: Callable[..., Tensor]) -> list[float]:
    pairs = zip(results([t.double() for t in inputs], true), results(inputs, fast), strict=True)
    return [float((b.double() - a).abs().max() / a.abs().max().clamp_min(1e-30)) for a, b in pairs]


def norm_gate(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, *, offset: float = 0.0) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    big = [torch.randn(*shape, generator=generator) + offset for _ in range(2)]
    small = [torch.randn(shape[-1], generator=generator) for _ in range(4)]
    inputs = [*(tensor.to(dtype) for tensor in big), *small]
    return compare(inputs, definition, lambda *a: fast_norm_gate(*a, EPS))


def many_parts() -> list[float]:
    norm_gate_triton._PARTS, norm_gate_triton._ELEMENTS = 3, 64
    return norm_gate((29, 16))


def deform_arguments(shape: tuple[int, ...], spread: float = 2.0) -> list[Tensor]:
    batch, frames, height, width, channels = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    offsets, masks = normal(batch, height, width, 9, 2) * spread, normal(batch, height, width, 9).sigmoid()
    return [normal(batch, frames, height, width, channels), offsets, masks, normal(9, channels)]


def sample(inputs: list[Tensor]) -> list[float]:
    return compare(inputs, deform_reference, deform_triton.deform_triton)


def at_rest() -> list[float]:
    """No offsets, as at initialisation: the value and all gradients but that of the offsets, which jumps there."""
    inputs = deform_arguments((1, 2, 3, 3, 16))
    inputs[1] = torch.zeros_like(inputs[1])
    found = sample(inputs)
    return [*found[:2], *found[3:]]


def strange_offsets() -> list[float]:
    """1 where an offset that is no number, or far outside, does not show as in the definition."""
    inputs = deform_arguments((1, 2, 3, 4, 16))
    inputs[1][0, 1, 2, 4, 0] = float("nan")
    inputs[1][0, 2, 2, 3, 1] = 1e9
    true, found = deform_reference(*inputs), deform_triton.deform_triton(*inputs)
    same = torch.allclose(true, found, rtol=1e-5, atol=1e-5, equal_nan=True)
    return [float(not same), float(int(found.isnan().sum()) != 2 * 16)]


CASES: dict[str, Callable[[], list[float]]] = {
    "norm and gate": lambda: norm_gate((2, 13, 64)),
    "norm and gate, odd width": lambda: norm_gate((5, 24)),
    "norm and gate, large mean": lambda: norm_gate((3, 32), offset=30.0),
    "norm and gate in bfloat16": lambda: norm_gate((7, 32), torch.bfloat16),
    "norm and gate, many parts": many_parts,
    "deform": lambda: sample(deform_arguments((2, 3, 3, 4, 16))),
    "deform, odd width": lambda: sample(deform_arguments((1, 1, 5, 4, 24), 0.5)),
    "deform at rest": at_rest,
    "deform, strange offsets": strange_offsets,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump({name: case() for name, case in CASES.items()}, sys.stdout)
