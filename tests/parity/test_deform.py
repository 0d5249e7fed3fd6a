"""Deformable sampling: the kernel equals the definition, and the definition equals known special cases."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from posecli.errors import DeviceError
from posecli.pose.deform import deform_sample
from posecli.ssm import ShapeError


def arguments(
    shape: tuple[int, ...] = (2, 3, 7, 5, 16), *, spread: float = 2.0, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    batch, frames, height, width, channels = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).to(dtype)

    return [
        normal(batch, frames, height, width, channels).requires_grad_(),
        (normal(batch, height, width, 9, 2) * spread).requires_grad_(),
        normal(batch, height, width, 9).sigmoid().requires_grad_(),
        normal(9, channels).requires_grad_(),
    ]


@pytest.mark.parametrize("shape", [(2, 3, 7, 5, 16), (1, 1, 1, 1, 16), (1, 5, 4, 9, 64)])
def test_kernel_equals_definition_in_values_and_gradients(shape: tuple[int, ...]) -> None:
    inputs = arguments(shape)
    upstream = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    results = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        cast = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
        out = deform_sample(*cast, backend=backend)
        results.append([out, *torch.autograd.grad(out, cast, upstream.to(dtype))])
    for fast, true in zip(*results, strict=True):
        assert (fast - true).abs().max() <= 1e-5 * true.abs().max()


def test_without_offsets_it_is_a_depthwise_convolution() -> None:
    value, offsets, masks, weight = (tensor.detach() for tensor in arguments())
    out = deform_sample(value, torch.zeros_like(offsets), torch.ones_like(masks), weight)
    images = value.flatten(0, 1).permute(0, 3, 1, 2)
    kernel = weight.T.reshape(-1, 1, 3, 3)
    expected = functional.conv2d(images, kernel, padding=1, groups=16).permute(0, 2, 3, 1).reshape(value.shape)
    assert torch.allclose(out, expected, atol=1e-5)


def test_whole_offsets_shift_the_map() -> None:
    value, offsets, masks, weight = (tensor.detach() for tensor in arguments())
    offsets = torch.zeros_like(offsets)
    offsets[..., 0] = 2.0
    weight = torch.zeros_like(weight)
    weight[4] = 1.0
    out = deform_sample(value, offsets, torch.ones_like(masks), weight)
    assert torch.equal(out[:, :, :-2], value[:, :, 2:])
    assert float(out[:, :, -2:].abs().max()) == 0.0


def test_gradients_of_the_definition() -> None:
    inputs = arguments((1, 2, 3, 3, 2), spread=0.6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *a: deform_sample(*a, backend="reference"), inputs)


def test_threads_do_not_change_the_result() -> None:
    inputs = arguments((3, 2, 8, 6, 16))
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        out = deform_sample(*inputs)
        results.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_offsets_far_outside_give_nothing() -> None:
    value, offsets, masks, weight = (tensor.detach() for tensor in arguments())
    out = deform_sample(value, torch.full_like(offsets, 1e6), masks, weight, backend="cpu")
    assert float(out.abs().max()) == 0.0


def test_unknown_or_unfit_backends_are_refused() -> None:
    with pytest.raises(DeviceError, match="no backend 'abacus'"):
        deform_sample(*arguments(), backend="abacus")
    with pytest.raises(DeviceError, match="triton cannot take"):
        deform_sample(*arguments(), backend="triton")
    with pytest.raises(DeviceError, match="cannot take"):
        deform_sample(*arguments(dtype=torch.float64), backend="cpu")


def test_an_offset_that_is_no_number_shows_in_the_output() -> None:
    value, offsets, masks, weight = (tensor.detach() for tensor in arguments())
    offsets[1, 2, 3, 4, 0] = float("nan")
    expected = deform_sample(value, offsets, masks, weight, backend="reference").isnan()
    assert int(expected.sum()) == 3 * 16
    assert torch.equal(deform_sample(value, offsets, masks, weight, backend="cpu").isnan(), expected)


def test_the_kernel_takes_multiples_of_16_channels() -> None:
    inputs = arguments((1, 1, 3, 3, 24))
    with pytest.raises(ShapeError, match="24 channels"):
        deform_sample(*inputs)
    assert deform_sample(*inputs, backend="reference").shape == (1, 1, 3, 3, 24)
