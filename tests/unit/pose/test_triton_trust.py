"""Triton's kernels for a block's steps are used only where they were tried; here with stand-ins, as there is no GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from posecli.pose import triton_trust
from posecli.pose.deform import deform_reference

CPU = torch.device("cpu")


def right_norm_gate(main: Tensor, gate: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, eps: float) -> Tensor:
    shape = main.shape[-1:]
    opened = functional.silu(functional.layer_norm(gate, shape, w2, b2, eps))
    return functional.layer_norm(main, shape, w1, b1, eps) * opened


def wrong_norm_gate(*arguments: Any) -> Tensor:
    return right_norm_gate(*arguments) * 1.001


def crash(*arguments: Any) -> Tensor:
    raise RuntimeError("ptxas died\nwith signal 11")


def no_number(*arguments: Any) -> Tensor:
    return deform_reference(*arguments) * torch.nan


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    pytest.importorskip("triton")

    def set_kernels(*, norm_gate: Any = right_norm_gate, deform: Any = deform_reference) -> None:
        monkeypatch.setattr("posecli.pose.norm_gate_triton.norm_gate_triton", norm_gate)
        monkeypatch.setattr("posecli.pose.deform_triton.deform_triton", deform)

    return set_kernels


def test_right_kernels_have_no_problem(kernels: Callable[..., None]) -> None:
    kernels()
    assert triton_trust.kernel_problem(CPU) is None


def test_wrong_results_and_crashes_are_told(kernels: Callable[..., None]) -> None:
    kernels(norm_gate=wrong_norm_gate)
    assert "norm and gate is off by" in str(triton_trust.kernel_problem(CPU))
    kernels(deform=no_number)
    assert "sampling is off by inf" in str(triton_trust.kernel_problem(CPU))
    kernels(deform=crash)
    assert triton_trust.kernel_problem(CPU) == "they do not run: RuntimeError: with signal 11"


def test_a_cpu_is_not_asked() -> None:
    assert not triton_trust.trusts_triton(CPU)


def test_a_failing_device_is_tried_once_and_warned_about(
    kernels: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels()
    tried: list[torch.device] = []

    def problem(device: torch.device) -> str:
        tried.append(device)
        return "it rained"

    monkeypatch.setattr(triton_trust, "kernel_problem", problem)
    monkeypatch.setattr(triton_trust, "_verdicts", {})
    device = torch.device("cuda", 7)
    with pytest.warns(RuntimeWarning, match="not used on cuda:7: it rained"):
        assert not triton_trust.trusts_triton(device)
    assert not triton_trust.trusts_triton(device)
    assert len(tried) == 1
