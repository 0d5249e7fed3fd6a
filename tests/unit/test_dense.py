"""Dense layers equal torch's own, and take the fast way only where they may."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from posecli.dense import Dense, PointwiseConv


def convolutions(work: object) -> int:
    """How many convolutions a piece of work runs."""
    with torch.profiler.profile() as profile:
        work()  # type: ignore[operator]
    return sum(event.count for event in profile.key_averages() if event.key == "aten::mkldnn_convolution")


@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 24), (160, 24), (1, 5, 24), (0, 24), (7, 24), (3, 77, 24), (67, 61, 24), (9, 17, 24)]
)
@pytest.mark.parametrize("has_bias", [True, False])
def test_dense_equals_linear(shape: tuple[int, ...], has_bias: bool) -> None:
    layer = Dense(24, 10, bias=has_bias)
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.linear(x, layer.weight, layer.bias)
    with torch.no_grad():
        y = layer(x)
    assert y.shape == expected.shape
    assert torch.allclose(y, expected, atol=1e-5)


def test_dense_is_a_convolution_in_inference_only() -> None:
    layer, x = Dense(8, 8), torch.zeros(32, 8)
    with torch.no_grad():
        assert convolutions(lambda: layer(x)) == 1
    assert convolutions(lambda: layer(x)) == 0
    assert layer(x).requires_grad


@pytest.mark.parametrize("is_channels_last", [True, False])
def test_pointwise_equals_convolution(is_channels_last: bool) -> None:
    layer = PointwiseConv(6, 4)
    x = torch.randn(2, 6, 9, 5, generator=torch.Generator().manual_seed(0))
    expected = nn.functional.conv2d(x, layer.weight, layer.bias)
    if is_channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        y = layer(x)
    assert torch.allclose(y, expected, atol=1e-5)
    assert y.is_contiguous(memory_format=torch.channels_last) or not is_channels_last


def test_weights_keep_their_names() -> None:
    assert list(Dense(2, 3).state_dict()) == list(nn.Linear(2, 3).state_dict())
    assert list(PointwiseConv(2, 3).state_dict()) == list(nn.Conv2d(2, 3, 1).state_dict())
