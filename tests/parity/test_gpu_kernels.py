"""The GPU kernels on a GPU, at the paper's size: scan, norm and gate, deformable sampling, mamba-ssm. Run with ``-m gpu``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from posecli import ssm
from posecli.pose import deform
from posecli.ssm import global_orders, window_orders

pytestmark = pytest.mark.gpu
multi_scan: Any = ssm.multi_scan  # mypy does not count what a star unpacks in front of other arguments
deform_reference: Any = deform.deform_reference
GRID = (5, 64, 48)


def arguments(length: int, *, directions: int, batch: int, width: int, states: int, rank: int) -> list[Tensor]:
    generator = torch.Generator(device="cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device="cuda")

    step = torch.exp(torch.rand(directions, width, generator=generator, device="cuda") * math.log(100) + math.log(1e-3))
    levels = torch.arange(1.0, states + 1, device="cuda").log().view(1, states, 1)
    return [
        normal(batch, length, width),
        normal(batch, length, directions, rank + 2 * states),
        normal(directions, rank, width) / rank**0.5,
        step + torch.log(-torch.expm1(-step)),
        levels + 0.1 * normal(directions, states, width),
        normal(directions, width),
    ]


def results(inputs: list[Tensor], work: Callable[..., Tensor]) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    y = work(*leaves)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


def assert_close(fast: list[Tensor], true: list[Tensor], tolerance: float) -> None:
    for index, (found, expected) in enumerate(zip(fast, true, strict=True)):
        error = float((found.double() - expected).abs().max() / expected.abs().max())
        assert error <= tolerance, f"result {index} is off by {error:.1e}"


def six_orders(backend: str) -> Callable[..., Tensor]:
    order = torch.from_numpy(global_orders(*GRID).copy()).cuda()
    return lambda *tensors: multi_scan(*tensors, order, groups=(0, 1, 2, 0, 1, 2), backend=backend)


@pytest.mark.parametrize(("width", "states", "rank", "batch"), [(256, 16, 16, 1), (64, 4, 4, 3)])
def test_six_orders_at_full_size(width: int, states: int, rank: int, batch: int) -> None:
    inputs = arguments(math.prod(GRID), directions=6, batch=batch, width=width, states=states, rank=rank)
    fast = results(inputs, six_orders("triton"))
    true = results([tensor.double() for tensor in inputs], six_orders("chunked"))
    assert_close(fast, true, 2e-5)
    again = results(inputs, six_orders("triton"))
    assert all(map(torch.equal, fast, again))  # the same bits


def test_half_inputs_at_full_size() -> None:
    inputs = arguments(math.prod(GRID), directions=6, batch=1, width=128, states=8, rank=8)
    inputs[:2] = [tensor.bfloat16() for tensor in inputs[:2]]
    fast = results(inputs, six_orders("triton"))
    true = results([tensor.double() for tensor in inputs], six_orders("chunked"))
    assert [tensor.dtype for tensor in fast[:3]] == [torch.float32, torch.bfloat16, torch.bfloat16]
    assert_close([fast[0], *fast[3:]], [true[0], *true[3:]], 2e-5)
    assert_close(fast[1:3], true[1:3], 8e-3)


@pytest.mark.parametrize("is_reset", [True, False])
def test_windows_at_full_size(is_reset: bool) -> None:
    rows, seg_len = window_orders(*GRID)
    order = torch.from_numpy(rows.copy()).cuda()
    inputs = arguments(math.prod(GRID), directions=2, batch=2, width=64, states=16, rank=4)

    def work(backend: str) -> Callable[..., Tensor]:
        options = {"seg_len": seg_len if is_reset else None, "backend": backend}
        return lambda *tensors: multi_scan(*tensors, order, **options)

    true = results([tensor.double() for tensor in inputs], work("chunked"))
    assert_close(results(inputs, work("triton")), true, 2e-5)


def test_auto_takes_triton_and_the_self_test_passes() -> None:
    assert ssm.resolve_backend("auto", "cuda") == "triton"
    assert ssm.self_test("triton") < 1e-5


def test_mamba_at_full_size() -> None:
    pytest.importorskip("selective_scan_cuda")
    inputs = arguments(math.prod(GRID), directions=6, batch=1, width=64, states=16, rank=4)
    fast = results(inputs, six_orders("mamba"))
    true = results([tensor.double() for tensor in inputs], six_orders("chunked"))
    assert_close(fast, true, 1e-4)


@pytest.mark.parametrize("width", [64, 192, 256])
def test_norm_and_gate(width: int) -> None:
    from posecli.pose import norm_gate_triton

    fast: Any = norm_gate_triton.norm_gate_triton
    inputs = [torch.randn(*shape, device="cuda") for shape in [(2, 15360, width)] * 2 + [(width,)] * 4]

    def definition(x: Tensor, z: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Tensor:
        gate = functional.silu(functional.layer_norm(z, (width,), v, c))
        return functional.layer_norm(x, (width,), w, b) * gate

    true = results([tensor.double() for tensor in inputs], definition)
    assert_close(results(inputs, lambda *a: fast(*a, 1e-5)), true, 1e-5)


def test_deformable_sampling_and_its_bits() -> None:
    from posecli.pose.deform_triton import deform_triton

    inputs = [
        torch.randn(*shape, device="cuda") for shape in ((2, *GRID, 64), (2, 64, 48, 9, 2), (2, 64, 48, 9), (9, 64))
    ]
    fast = results(inputs, deform_triton)
    assert_close(fast, results([tensor.double() for tensor in inputs], deform_reference), 1e-5)
    assert all(map(torch.equal, fast, results(inputs, deform_triton)))
