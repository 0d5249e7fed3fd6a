"""The adapter to mamba-ssm: its layouts, proven with a module that keeps the kernel's convention but is written in torch."""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from posecli.errors import DeviceError
from posecli.ssm import available_backends, global_orders, mamba, window_orders
from posecli.ssm.reference import scan_reference

scan_mamba: Any = mamba.scan_mamba  # mypy does not count what a star unpacks in front of other arguments
oracle: Any = scan_reference


def recurrence(u: Tensor, delta: Tensor, A: Tensor, b: Tensor, c: Tensor, D: Tensor, bias: Tensor) -> Tensor:
    """u and delta (B, E, L), A (E, N), b and c (B, G, N, L): as documented in mamba-ssm's selective_scan_ref."""
    per_group = u.shape[1] // b.shape[1]
    b, c = b.repeat_interleave(per_group, 1), c.repeat_interleave(per_group, 1)
    delta = softplus(delta + bias[:, None])
    h = u.new_zeros(*u.shape[:2], A.shape[1])
    outputs = []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]
        h = torch.exp(step * A) * h + step * b[..., t] * u[:, :, t, None]
        outputs.append((h * c[..., t]).sum(-1) + D * u[:, :, t])
    return torch.stack(outputs, dim=2)


def check(u: Tensor, delta: Tensor, A: Tensor, b: Tensor, c: Tensor, D: Tensor, bias: Tensor) -> None:
    """What the C++ code refuses."""
    (batch, channels, length), states, groups = u.shape, A.shape[1], b.shape[1]
    assert delta.shape == (batch, channels, length)
    assert A.shape == (channels, states)
    assert b.shape == c.shape == (batch, groups, states, length)
    assert D.shape == bias.shape == (channels,)
    assert channels % groups == 0
    for tensor in (u, delta, b, c):
        assert tensor.stride(-1) == 1 or tensor.shape[-1] == 1
    assert {t.dtype for t in (u, delta, A, b, c, D, bias)} == {u.dtype}


class Kernel(ModuleType):
    """Positional arguments only, as pybind11 makes them."""

    def __init__(self) -> None:
        super().__init__("selective_scan_cuda")
        self.__spec__ = importlib.machinery.ModuleSpec("selective_scan_cuda", None)
        self.num_calls = 0

    def fwd(
        self, u: Tensor, delta: Tensor, A: Tensor, b: Tensor, c: Tensor, D: Tensor, z: None, bias: Tensor, soft: bool, /
    ) -> list[Tensor]:
        self.num_calls += 1
        assert z is None
        assert soft
        check(u, delta, A, b, c, D, bias)
        kept = torch.zeros(u.shape[0], u.shape[1], 1, 2 * A.shape[1])
        return [recurrence(u, delta, A, b, c, D, bias), kept]

    def bwd(
        self, u: Tensor, delta: Tensor, A: Tensor, b: Tensor, c: Tensor, D: Tensor, z: None, bias: Tensor,
        dout: Tensor, kept: Tensor, out: None, dz: None, soft: bool, again: bool, /,
    ) -> list[Tensor]:  # fmt: skip
        assert z is out is dz is None
        assert (soft, again) == (True, False)
        assert dout.shape == u.shape
        assert dout.stride(-1) == 1
        assert kept.is_contiguous()
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (u, delta, A, b, c, D, bias)]
            return list(torch.autograd.grad(recurrence(*leaves), leaves, dout))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    module = Kernel()
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", module)
    return module


def arguments(length: int, *, directions: int, batch: int = 2, width: int = 5, states: int = 3, rank: int = 2) -> Any:
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, proj = normal(batch, length, width), normal(batch, length, directions, rank + 2 * states)
    weights = normal(directions, rank, width), normal(directions, width) - 1
    return [x, proj, *weights, 0.3 * normal(directions, states, width), normal(directions, width)]


@pytest.mark.parametrize("kind", ["six orders", "windows reset"])
def test_layouts_values_and_gradients(kind: str, kernel: Kernel) -> None:
    groups: tuple[int, ...] = (0, 1, 2, 0, 1, 2)
    order, seg_len = global_orders(2, 3, 4), 24
    if kind == "windows reset":
        order, seg_len = window_orders(2, 4, 6, (2, 3))
        groups = (1, 0)
    rows = torch.from_numpy(order.copy())
    results = []
    for scan in (oracle, scan_mamba):
        leaves = [t.clone().requires_grad_() for t in arguments(rows.shape[1], directions=len(groups))]
        y = scan(*leaves, rows, groups, seg_len)
        upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
        results.append([y.detach(), *torch.autograd.grad(y, leaves, upstream)])
    for true, found in zip(*results, strict=True):
        assert torch.allclose(true, found, rtol=1e-10, atol=1e-12)
    assert kernel.num_calls == 1


def test_what_keeps_it_from_loading_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"{name}.so: undefined symbol: _ZN3c104cuda9SetDeviceEi\nmore")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(DeviceError, match=r"cannot be imported: selective_scan_cuda.so: undefined symbol") as caught:
        scan_mamba(*arguments(4, directions=1), torch.arange(4, dtype=torch.int32)[None], (0,), 4)
    assert caught.value.hint is not None
    assert "MAMBA_KEEP_CUDA_BUILD" in caught.value.hint


def test_it_is_available_only_where_there_is_a_gpu(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    for has_cuda, state in ((False, "no CUDA device"), (True, "ok")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_cuda=has_cuda: has_cuda)
        assert available_backends()["mamba"] == state
    assert kernel.num_calls == 0
