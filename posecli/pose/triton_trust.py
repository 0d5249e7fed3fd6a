"""Whether the Triton kernels of a block's other steps may be used on a device: they are tried there first, as the scan's are."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_TOLERANCE = 1e-4  # relative to the largest value; right kernels stay two orders of magnitude below

_verdicts: dict[str, bool] = {}


def trusts_triton(device: torch.device) -> bool:
    """Whether to use the kernels on a device; the first call tries them there, and if they fail, warns that plain torch is used."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    name = str(device)
    if name not in _verdicts:
        problem = kernel_problem(device)
        _verdicts[name] = problem is None
        if problem is not None:
            text = f"Triton's kernels for norm, gate and sampling are not used on {device}: {problem}; plain torch is, which is slower"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
    return _verdicts[name]


def kernel_problem(device: torch.device) -> str | None:
    """What is wrong with the kernels on this device; ``None``: nothing."""
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            errors = {"norm and gate": _norm_gate_error(device), "sampling": _deform_error(device)}
    except Exception as failure:  # a compiler can fail in any way; what it says is the answer
        lines = str(failure).strip().splitlines() or [""]
        return f"they do not run: {type(failure).__name__}: {lines[-1]}"
    worst = max(errors, key=lambda name: errors[name])
    return f"{worst} is off by {errors[worst]:.1e}" if errors[worst] > _TOLERANCE else None


def _norm_gate_error(device: torch.device) -> float:
    from posecli.pose.norm_gate_triton import norm_gate_triton

    arguments = [_normal(40, 48), _normal(40, 48), *(_normal(48) for _ in range(4))]

    def plain(main: Tensor, gate: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        normed = functional.layer_norm(main, (48,), w1, b1, 1e-5)
        return normed * functional.silu(functional.layer_norm(gate, (48,), w2, b2, 1e-5))

    def kernel(main: Tensor, gate: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        return norm_gate_triton(main, gate, w1, b1, w2, b2, 1e-5)

    return _largest_error(arguments, plain, kernel, device)


def _deform_error(device: torch.device) -> float:
    from posecli.pose.deform import deform_reference
    from posecli.pose.deform_triton import deform_triton

    arguments = [_normal(2, 2, 5, 4, 16), _normal(2, 5, 4, 9, 2), _normal(2, 5, 4, 9).sigmoid(), _normal(9, 16)]
    return _largest_error(arguments, deform_reference, deform_triton, device)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _largest_error(
    arguments: list[Tensor], plain: Callable[..., Tensor], kernel: Callable[..., Tensor], device: torch.device
) -> float:
    """Relative, over the output and all gradients; infinite where there is a NaN."""
    results = []
    for function, tensors in ((plain, [a.double() for a in arguments]), (kernel, [a.to(device) for a in arguments])):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        out = function(*leaves)
        upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype, device=out.device).reshape(out.shape)
        results.append([out.detach(), *torch.autograd.grad(out, leaves, upstream)])
    errors = [
        float((found.cpu().double() - true).abs().max() / true.abs().max())
        for true, found in zip(*results, strict=True)
    ]
    return max(error if math.isfinite(error) else math.inf for error in errors)
