"""Convolutions laid out for inference on a CPU: weights packed once, what follows a convolution done while its output is in cache.

Weights are packed once for every size of picture: oneDNN's choice depends on it, and weights packed for an unknown size cost many
times the time on small maps (320 channels of 6 x 5 cells, AVX2: 62 ms against 2.6).

torch's own `conv2d` lays the weights out anew at every call; on small maps, where the weights outweigh the picture, that takes longer
than the convolution. oneDNN can keep the packed weights, add a shortcut and apply the ReLU on the way out. And it is always oneDNN:
torch alone sends small 1x1 convolutions to another library when it has one thread, so that results would depend on their number.
The operators are those that torch's compiler uses; where a torch lacks them the network stays as it is: same results, slower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from posecli.encoder import ConvNorm, ResidualBlock

_PACKED_FOR = 5  # pictures: the frames of a window
_MAX_SIZES = 4  # a detector sees two of a video; a batch of many shapes must not keep them all
_OPERATORS = ("_convolution_pointwise", "_reorder_convolution_weight")


def can_pack() -> bool:
    """Whether this torch has the operators."""
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)


def pack_convolutions(module: nn.Module) -> nn.Module:
    """Replace every convolution, `ConvNorm` and `ResidualBlock` inside by its packed form, in place.

    Args:
        module: A float32 network on the CPU, in eval mode, its batch norms folded (`posecli.encoder.fold_batch_norms`).
            It can only be run afterwards: not trained, saved or moved.

    Returns:
        The same module; unchanged where `can_pack` says no.
    """
    if not can_pack():
        return module
    for name, child in list(module.named_children()):
        if isinstance(child, ResidualBlock):
            setattr(module, name, _PackedResidual(child))
        elif isinstance(child, ConvNorm):
            setattr(module, name, _packed(child))
        elif isinstance(child, nn.Conv2d):
            setattr(module, name, PackedConv(child))
        else:
            pack_convolutions(child)
    return module


class PackedConv(nn.Module):
    """Convolution, perhaps plus another map, perhaps an activation: one pass."""

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self._raw_weight = conv.weight.detach()
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._geometry: tuple[Any, ...] = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self._activation = _activation(activation)
        self._weights: dict[tuple[int, int], Tensor] = {}

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H', W'); ``added`` has the output's shape."""
        operator, tensors = torch.ops.mkldnn._convolution_pointwise, (self._weight(x), self._bias)
        name, scalars = self._activation
        result: Tensor
        if added is None:
            result = operator(x, *tensors, *self._geometry, name or "none", scalars, "")
        else:
            result = operator.binary(x, added, *tensors, *self._geometry, "add", 1.0, name, scalars, "")
        return result

    def _weight(self, x: Tensor) -> Tensor:
        """In any thread: two that meet a new size both pack, to the same values."""
        size = (x.shape[2], x.shape[3])
        packed = self._weights.get(size)
        if packed is None:
            # the same for every batch: otherwise results would depend on which one came first
            shape = (_PACKED_FOR, x.shape[1], *size)
            packed = torch.ops.mkldnn._reorder_convolution_weight(self._raw_weight, *self._geometry, shape)
            for oldest in list(self._weights)[: -_MAX_SIZES + 1]:
                self._weights.pop(oldest, None)
            self._weights[size] = packed
        return packed


def _activation(module: nn.Module | None) -> tuple[str | None, list[float]]:
    """What oneDNN calls an activation, and its numbers."""
    if module is None:
        return None, []
    if isinstance(module, nn.Hardtanh):
        return "hardtanh", [module.min_val, module.max_val]
    return "relu", []


def _packed(block: ConvNorm) -> PackedConv:
    return PackedConv(_folded(block), getattr(block, "activation", None))


def _folded(block: ConvNorm) -> nn.Conv2d:
    if not isinstance(block.norm, nn.Identity):
        raise ValueError("fold batch norms before packing")
    return block.conv


class _PackedResidual(nn.Module):
    """A `ResidualBlock` in two passes, three where its shortcut is a convolution."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.first = _packed(block.first)
        self.second = PackedConv(_folded(block.second), nn.ReLU())  # after the shortcut is added
        self.shortcut = _packed(block.shortcut) if isinstance(block.shortcut, ConvNorm) else block.shortcut

    def forward(self, x: Tensor) -> Tensor:
        """As `ResidualBlock.forward`."""
        result: Tensor = self.second(self.first(x), self.shortcut(x))
        return result
