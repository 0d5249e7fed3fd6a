"""The fused steps of a block equal their plain definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from posecli.pose import fused
from posecli.ssm.threads import run_tasks

Step = Callable[[Tensor], Tensor | tuple[Tensor, ...]]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_norm(width: int, seed: int) -> nn.LayerNorm:
    norm = nn.LayerNorm(width)
    with torch.no_grad():
        norm.weight.copy_(normal(width, seed=seed))
        norm.bias.copy_(normal(width, seed=seed + 1))
    return norm


def steps(width: int) -> dict[str, Step]:
    first, second = random_norm(width, 1), random_norm(width, 3)
    conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
    return {
        "layer_norm": lambda x: fused.layer_norm(x, first),
        "add_norm": lambda x: fused.add_norm(x, x.flip(0).contiguous(), first),
        "norm_gate": lambda x: fused.norm_gate(x, x.flip(1).contiguous(), first, second),
        "depthwise": lambda x: fused.depthwise(x, conv),
        "depthwise_silu": lambda x: fused.depthwise(x, conv, has_silu=True),
    }


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that were run, so that a test cannot compare the plain path with itself."""
    calls: list[str] = []

    def counted(kernel: Callable[..., None], num_tasks: int, *arguments: object) -> None:
        calls.append(getattr(kernel, "__name__", ""))
        run_tasks(kernel, num_tasks, *arguments)

    monkeypatch.setattr("posecli.pose.fused_cpu.run_tasks", counted)
    monkeypatch.setattr("posecli.pose.fused_cpu._WORTH_WAKING", 0)
    return calls


@pytest.mark.parametrize("name", ["layer_norm", "add_norm", "norm_gate", "depthwise", "depthwise_silu"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 16), (2, 1, 3, 1, 32), (2, 3, 1, 7, 16), (1, 2, 9, 15, 64)])
def test_kernel_equals_definition(name: str, shape: tuple[int, ...], kernel_calls: list[str]) -> None:
    step, x = steps(shape[-1])[name], normal(*shape) * 3 + 5
    with torch.no_grad():
        fast = step(x)
        assert len(kernel_calls) == 1
        with fused.unfused():
            plain = step(x)
    assert len(kernel_calls) == 1
    for a, b in zip(*(out if isinstance(out, tuple) else (out,) for out in (fast, plain)), strict=True):
        assert torch.allclose(a, b, atol=2e-5, rtol=1e-5)


def test_halves_of_a_wider_tensor_need_no_copy(kernel_calls: list[str]) -> None:
    conv = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    wide = normal(2, 2, 5, 4, 32)
    with torch.no_grad():
        for half in wide.chunk(2, dim=-1):
            assert torch.equal(fused.depthwise(half, conv), fused.depthwise(half.contiguous(), conv))
    assert len(kernel_calls) == 4


def test_variance_of_values_far_from_zero_keeps_its_digits() -> None:
    norm = nn.LayerNorm(64)
    x = normal(20, 64) + 1e4
    with torch.no_grad():
        exact = nn.functional.layer_norm(x.double(), (64,)).float()
        assert (fused.layer_norm(x, norm) - exact).abs().max() < 2e-3


def test_nan_stays_in_its_token(kernel_calls: list[str]) -> None:
    norm = nn.LayerNorm(16)
    x = normal(20, 16)
    x[3, 2] = torch.nan
    with torch.no_grad():
        y = fused.layer_norm(x, norm)
    assert kernel_calls
    assert y[3].isnan().all()
    assert not torch.cat([y[:3], y[4:]]).isnan().any()


@pytest.mark.parametrize("name", ["layer_norm", "norm_gate", "depthwise_silu"])
def test_number_of_threads_changes_no_bit(name: str, kernel_calls: list[str]) -> None:
    step, x = steps(32)[name], normal(2, 3, 17, 13, 32)
    with torch.no_grad():
        alone = step(x)
        torch.set_num_threads(2)
        try:
            together = step(x)
        finally:
            torch.set_num_threads(1)
    assert isinstance(alone, Tensor)
    assert isinstance(together, Tensor)
    assert torch.equal(alone, together)


def test_gradients_take_the_plain_path(kernel_calls: list[str]) -> None:
    x = normal(1, 1, 2, 2, 16).requires_grad_()
    for step in steps(16).values():
        out = step(x)
        assert (out[0] if isinstance(out, tuple) else out).requires_grad
    assert not kernel_calls


def test_double_precision_and_odd_widths_take_the_plain_path(kernel_calls: list[str]) -> None:
    with torch.no_grad():
        fused.layer_norm(normal(4, 20), nn.LayerNorm(20))
        fused.layer_norm(normal(4, 16).double(), nn.LayerNorm(16).double())
    assert not kernel_calls


def test_a_small_norm_wakes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a thread was woken")

    monkeypatch.setattr("posecli.pose.fused_cpu.run_tasks", refuse)
    norm, x = random_norm(16, 0), normal(300, 16)
    with torch.no_grad():
        assert torch.allclose(fused.layer_norm(x, norm), norm(x), atol=1e-5)
