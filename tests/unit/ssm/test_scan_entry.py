"""The scan's entry point: what it refuses, how it picks a backend, and what types come out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest
import torch

from posecli import ssm
from posecli.errors import ConfigError, DeviceError
from posecli.ssm import ShapeError, available_backends, global_orders, resolve_backend, self_test

multi_scan: Any = ssm.multi_scan  # mypy does not count what a star unpacks in front of other arguments
Build = Callable[..., Any]  # a list of tensors, to be unpacked in front of the order
ORDER = global_orders(2, 3, 4)


def test_width_must_be_a_multiple_of_16_on_cpu_only(scan_arguments: Build) -> None:
    arguments = scan_arguments(24, width=24)
    with pytest.raises(ShapeError, match="width 24 is not a multiple of 16") as caught:
        multi_scan(*arguments, ORDER)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ConfigError)
    assert multi_scan(*arguments, ORDER, backend="chunked").shape == (1, 1, 24, 24)


@pytest.mark.parametrize("position", range(6))
def test_shapes_that_do_not_fit_are_named(scan_arguments: Build, position: int) -> None:
    arguments = scan_arguments(24)
    arguments[position] = arguments[position][..., 1:]
    with pytest.raises(ShapeError, match="has shape"):
        multi_scan(*arguments, ORDER)


def test_orders_must_be_permutations(scan_arguments: Build) -> None:
    order = torch.from_numpy(ORDER.copy())
    multi_scan(*scan_arguments(24), order)
    order[2, 3] = 24  # a kernel would write past the end
    with pytest.raises(ShapeError, match="not a permutation"):
        multi_scan(*scan_arguments(24), order)
    with pytest.raises(ShapeError, match=r"torch\.int64"):
        multi_scan(*scan_arguments(24), torch.from_numpy(ORDER.copy()).long())


def test_an_order_made_in_inference_mode_is_taken_and_still_looked_at(scan_arguments: Build) -> None:
    arguments = scan_arguments(8)
    with torch.inference_mode():
        order = torch.from_numpy(global_orders(2, 2, 2).copy()).clone()
        multi_scan(*arguments, order)
        order[0, 0] = order[0, 1]
        with pytest.raises(ShapeError, match="permutation"):
            multi_scan(*arguments, order)


@pytest.mark.parametrize("groups", [(0, 1), (0, 0, 0, 0, 0, 2), (-1, 0, 0, 0, 0, 0)])
def test_groups_must_name_every_output(scan_arguments: Build, groups: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="groups"):
        multi_scan(*scan_arguments(24), ORDER, groups=groups)


@pytest.mark.parametrize("seg_len", [0, 5, -24])
def test_segments_must_divide_the_length(scan_arguments: Build, seg_len: int) -> None:
    with pytest.raises(ShapeError, match="does not divide 24"):
        multi_scan(*scan_arguments(24), ORDER, seg_len=seg_len)


def test_gpu_backends_say_why_not(scan_arguments: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = {"triton", "selective_scan_cuda"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in found else None)
    assert {available_backends()[name] for name in ("triton", "mamba")} == {"no CUDA device"}
    for name in ("triton", "mamba"):
        with pytest.raises(DeviceError, match="no CUDA device"):
            multi_scan(*scan_arguments(24), ORDER, backend=name)
    found.clear()
    assert available_backends()["triton"] == "triton is not installed"
    assert available_backends()["mamba"] == "mamba-ssm's selective_scan_cuda is not installed"


def test_gpu_backends_take_no_cpu_tensor_and_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for name in ("triton", "mamba"):
        with pytest.raises(DeviceError, match="cannot take"):
            resolve_backend(name, "cpu")
    assert resolve_backend("mamba", "cuda") == "mamba"


def test_unknown_backends_are_refused() -> None:
    with pytest.raises(ConfigError, match="'cuda' is unknown"):
        resolve_backend("cuda", "cpu")


def test_auto_follows_device_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_backend("auto", "cpu") == "cpu"
    assert resolve_backend("auto", "meta") == "chunked"
    monkeypatch.setenv("POSECLI_SCAN_BACKEND", "reference")
    assert resolve_backend("auto", "cpu") == "reference"
    assert resolve_backend("chunked", "cpu") == "chunked"
    monkeypatch.setenv("POSECLI_SCAN_BACKEND", "mamba")
    with pytest.raises(DeviceError, match="'mamba' is not available"):
        resolve_backend("auto", "cpu")


def test_cpu_takes_no_other_device_and_no_float64(scan_arguments: Build) -> None:
    with pytest.raises(DeviceError, match="on device meta"):
        resolve_backend("cpu", "meta")
    arguments = [argument.double() for argument in scan_arguments(24)]
    with pytest.raises(DeviceError, match="float64"):
        multi_scan(*arguments, ORDER, backend="cpu")
    assert multi_scan(*arguments, ORDER).dtype == torch.float64


def test_half_inputs_and_autocast_are_computed_in_float32(scan_arguments: Build) -> None:
    arguments = scan_arguments(24)
    arguments[0], arguments[1] = arguments[0].bfloat16(), arguments[1].bfloat16()
    exact = multi_scan(*(argument.float() for argument in arguments), ORDER)
    x = arguments[0].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        for backend in ("cpu", "chunked", "reference"):
            y = multi_scan(x, *arguments[1:], ORDER, backend=backend)
            assert y.dtype == torch.float32
            assert torch.allclose(y, exact, rtol=1e-5, atol=1e-5)
            (gradient,) = torch.autograd.grad(y.sum(), x)
            assert gradient.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", ["cpu", "chunked", "reference"])
def test_self_test_measures_a_small_error(backend: str) -> None:
    assert 0 < self_test(backend) < 1e-5
