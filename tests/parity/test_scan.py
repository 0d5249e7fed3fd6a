"""All scan backends against the oracle in float64: values and all six gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from posecli import ssm
from posecli.ssm import global_orders, window_orders
from posecli.ssm.torch_chunked import linear_recurrence

multi_scan: Any = ssm.multi_scan  # mypy does not count what a star unpacks in front of other arguments
BACKENDS = ("cpu", "chunked")
TOLERANCE = 1e-5
# What stands for 0 where decays underflow: they seem to end near the smallest normal float, 1e-38, and a gradient multiplies that by
# steps of 1,000, by A, and sums over hundreds of tokens. Measured without AVX-512: 1.5e-30, where the first bound was 1e-30.
UNDERFLOW = 1e-28


def arguments(
    length: int, *, batch: int = 1, width: int = 16, directions: int = 6, states: int = 4, rank: int = 4
) -> Any:
    """Arguments, a list of tensors, as a fresh network would have them: steps from 0.001 to 0.1, A = -1..-N; made in float32."""
    generator = torch.Generator().manual_seed(length + 100 * states)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    step = torch.exp(torch.rand(directions, width, generator=generator) * math.log(100) + math.log(1e-3))
    return [
        normal(batch, length, width),
        normal(batch, length, directions, rank + 2 * states),
        normal(directions, rank, width) / rank**0.5,
        step + torch.log(-torch.expm1(-step)),
        torch.arange(1.0, states + 1).log().view(1, states, 1) + 0.1 * normal(directions, states, width),
        normal(directions, width),
    ]


def run(inputs: Any, order: Tensor, backend: str, **options: Any) -> list[Tensor]:
    """The output and the gradients of its product with a fixed tensor."""
    dtype = torch.float64 if backend == "reference" else torch.float32
    leaves: Any = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
    y = multi_scan(*leaves, order, backend=backend, **options)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


def assert_parity(inputs: Any, order: Tensor, **options: Any) -> None:
    expected = run(inputs, order, "reference", **options)
    names = ("y", "x", "proj", "dt_weight", "dt_bias", "A_log", "D")
    for backend in BACKENDS:
        for name, true, fast in zip(names, expected, run(inputs, order, backend, **options), strict=True):
            error = float((fast - true).abs().max())
            bound = TOLERANCE * float(true.abs().max()) + UNDERFLOW
            assert error <= bound, f"{backend}: {name} is off by {error:.1e}, {bound:.1e} allowed"


def six(frames: int, height: int, width: int, **options: Any) -> Tensor:
    return torch.from_numpy(global_orders(frames, height, width, **options).copy())


def windows(frames: int, height: int, width: int, window_hw: tuple[int, int]) -> tuple[Tensor, int]:
    order, seg_len = window_orders(frames, height, width, window_hw)
    return torch.from_numpy(order.copy()), seg_len


@pytest.mark.parametrize(("states", "rank"), [(1, 4), (2, 10), (4, 4), (8, 4), (16, 4)])
def test_six_orders_for_every_state_size(states: int, rank: int) -> None:
    assert_parity(arguments(3 * 5 * 7, batch=2, width=32, states=states, rank=rank), six(3, 5, 7))


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 7), (1, 8, 8), (1, 5, 13)])
def test_lengths_around_the_tile(size: tuple[int, int, int]) -> None:
    assert_parity(arguments(math.prod(size)), six(*size))


@pytest.mark.parametrize("is_reset", [True, False])
@pytest.mark.parametrize(("size", "window_hw"), [((3, 8, 6), (4, 3)), ((5, 8, 12), (8, 6))])
def test_windows_reset_and_carried(size: tuple[int, int, int], window_hw: tuple[int, int], is_reset: bool) -> None:
    order, seg_len = windows(*size, window_hw)
    assert_parity(arguments(math.prod(size), directions=2), order, seg_len=seg_len if is_reset else None)


@pytest.mark.parametrize(
    ("types", "groups"),
    [
        (("unified", "spatial", "temporal"), (0, 1, 2, 0, 1, 2)),
        (("unified", "spatial", "temporal"), (2, 0, 1, 1, 0, 2)),
        (("unified", "temporal"), (0, 1, 0, 1)),
        (("spatial",), (0, 0)),
        (("spatial",), (1, 0)),
    ],
)
def test_subsets_and_groups(types: Any, groups: tuple[int, ...]) -> None:
    order = six(2, 4, 9, types=types)
    assert_parity(arguments(72, directions=len(groups), width=48), order, groups=groups)


def test_panorama_columns() -> None:
    assert_parity(arguments(40), six(2, 4, 5, reading="V"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_add_up_to_the_plain_sum(backend: str) -> None:
    inputs, order = arguments(60), six(3, 4, 5)
    parts = multi_scan(*inputs, order, groups=(0, 1, 2, 0, 1, 2), backend=backend)
    total = multi_scan(*inputs, order, backend=backend)
    assert parts.shape == (1, 3, 60, 16)
    assert torch.allclose(parts.sum(1, keepdim=True), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_order_is_gather_scan_scatter(backend: str) -> None:
    inputs = arguments(36, directions=1)
    row = torch.randperm(36, generator=torch.Generator().manual_seed(3))
    gathered: Any = [inputs[0][:, row], inputs[1][:, row], *inputs[2:]]
    straight = torch.arange(36, dtype=torch.int32)[None]
    expected = multi_scan(*gathered, straight, backend=backend)[:, :, torch.argsort(row)]
    assert torch.equal(multi_scan(*inputs, row.int()[None], backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reset_is_a_new_sequence(backend: str) -> None:
    inputs = arguments(48, directions=1)
    straight = torch.arange(48, dtype=torch.int32)[None]
    pieces: Any = [inputs[0].reshape(4, 12, -1), inputs[1].reshape(4, 12, 1, -1), *inputs[2:]]
    expected = multi_scan(*pieces, straight[:, :12].contiguous(), backend=backend).reshape(1, 1, 48, -1)
    computed = multi_scan(*inputs, straight, seg_len=12, backend=backend)
    assert torch.allclose(computed, expected, rtol=1e-6, atol=1e-6)


EXTREMES = {
    "dt raw +50": (3, 50.0),
    "dt raw +1000": (3, 1000.0),
    "dt raw -30": (3, -30.0),
    "A near 0": (4, -40.0),
    "A = 0": (4, -math.inf),
    "A = -1e6": (4, math.log(1e6)),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_parameters_stay_finite_and_exact(name: str) -> None:
    inputs, (position, value) = arguments(72), EXTREMES[name]
    inputs[position] = torch.full_like(inputs[position], value)
    inputs[5] = torch.zeros_like(inputs[5])  # the skip would hide a tiny output
    for backend in BACKENDS:
        assert all(bool(tensor.isfinite().all()) for tensor in run(inputs, six(2, 4, 9), backend))
    assert_parity(inputs, six(2, 4, 9))


def test_huge_and_widely_spread_inputs() -> None:
    inputs = arguments(72)
    assert_parity([inputs[0] * 1e6, *inputs[1:]], six(2, 4, 9))
    assert_parity([*inputs[:2], inputs[2] * 30, *inputs[3:]], six(2, 4, 9))


@pytest.mark.parametrize("position", [0, 1, 3, 4])
def test_nan_goes_where_the_oracle_sends_it(position: int) -> None:
    inputs, order = arguments(40, directions=2), six(2, 4, 5, types=("spatial",))
    inputs[position] = inputs[position].clone()
    inputs[position].view(-1)[inputs[position].numel() // 2] = math.nan
    expected = run(inputs, order, "reference")[0].isnan()
    assert 0 < int(expected.sum()) < expected.numel()
    for backend in BACKENDS:
        assert torch.equal(run(inputs, order, backend)[0].isnan(), expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_number_of_threads_changes_no_bit(batch: int) -> None:
    inputs = arguments(70, batch=batch, width=64)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(run(inputs, six(2, 5, 7), "cpu"))
    torch.set_num_threads(1)
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True))


def test_without_gradients_the_same_values() -> None:
    inputs, order = arguments(70), six(2, 5, 7)
    assert torch.equal(multi_scan(*inputs, order, backend="cpu"), run(inputs, order, "cpu")[0])


def test_strided_inputs() -> None:
    inputs, order = arguments(70, width=32), six(2, 5, 7)
    strided = [tensor.transpose(0, -1).contiguous().transpose(0, -1) for tensor in inputs]
    assert not strided[0].is_contiguous()
    for plain, other in zip(run(inputs, order, "cpu"), run(strided, order, "cpu"), strict=True):
        assert torch.equal(plain, other)


@pytest.mark.parametrize("backend", ["reference", "chunked"])
def test_gradients_by_finite_differences(backend: str) -> None:
    inputs = [tensor.double().requires_grad_() for tensor in arguments(7, width=2, directions=2, states=2, rank=1)]
    order = six(1, 1, 7, types=("spatial",))
    assert torch.autograd.gradcheck(lambda *a: multi_scan(*a, order, groups=(0, 1), backend=backend), inputs)


@pytest.mark.parametrize("length", [1, 2, 7, 16, 61, 300])
def test_chunks_equal_the_plain_recurrence(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    factor = torch.rand(2, length, 3, 2, generator=generator, dtype=torch.float64)
    drive = torch.randn(2, length, 3, 2, generator=generator, dtype=torch.float64)
    h, expected = torch.zeros_like(drive[:, 0]), []
    for a, u in zip(factor.unbind(1), drive.unbind(1), strict=True):
        h = a * h + u
        expected.append(h)
    assert torch.allclose(linear_recurrence(factor, drive), torch.stack(expected, 1), rtol=1e-12, atol=1e-14)
