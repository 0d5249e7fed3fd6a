"""What a pose network costs: parameters and multiply-adds, counted truly and as common counters see them.

Papers' figures usually come from counters that hook standard layers. They miss bare tensors (the scan's dt_weight, A_log, ...), the
recurrence itself, attention products and deformable sampling. `Complexity` gives both sums, so that the comparison is honest.

Legend: K directions, E = d_inner, N = d_state, R = dt_rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from posecli.pose.blocks import Modulation, SelectiveScan
from posecli.pose.fused import unfused
from posecli.pose.network import PoseNetwork
from posecli.pose.vitpose import Attention

# exp's argument, decay, input, output and the shared part of the input: multiply-adds of one state and token
_PER_STATE = 4.5
_PER_SAMPLE = 5
_TAPS = 9


@dataclass
class Complexity:
    """Counts for one window.

    Attributes:
        num_parameters: All of them.
        num_trainable: Those that train (the paper counts these).
        num_visible: Trainable parameters in standard layers only.
        layers: Multiply-adds of convolutions and linear layers: what a layer counter reports.
        hidden: Multiply-adds of scans, attention products and deformable sampling: what it misses.
    """

    num_parameters: int
    num_trainable: int
    num_visible: int
    layers: float = 0.0
    hidden: float = 0.0
    by_part: dict[str, float] = field(default_factory=dict)

    @property
    def multiply_adds(self) -> float:
        """The true sum."""
        return self.layers + self.hidden


def measure_complexity(network: PoseNetwork) -> Complexity:
    """Count by running one window of zeros.

    Args:
        network: On the CPU; its mode is left alone, gradients are off.

    Returns:
        The counts; ``by_part`` splits the true sum into encoder and the rest.
    """
    config = network.config
    images = torch.zeros(1, config.num_frames, 3, *config.crop_hw)
    standard = {
        id(p)
        for m in network.modules()
        if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.LayerNorm | nn.BatchNorm2d)
        for p in m.parameters(recurse=False)
    }
    trainable = [p for p in network.parameters() if p.requires_grad]
    result = Complexity(
        num_parameters=sum(p.numel() for p in network.parameters()),
        num_trainable=sum(p.numel() for p in trainable),
        num_visible=sum(p.numel() for p in trainable if id(p) in standard),
        by_part={"encoder": 0.0, "blocks": 0.0},
    )
    encoder_modules = {id(module) for module in network.encoder.modules()}

    def add(module: nn.Module, count: float, *, is_hidden: bool) -> None:
        result.by_part["encoder" if id(module) in encoder_modules else "blocks"] += count
        if is_hidden:
            result.hidden += count
        else:
            result.layers += count

    with _hooks(network, add), unfused(), torch.no_grad():
        network(images)
    return result


@contextmanager
def _hooks(network: nn.Module, add: Callable[..., None]) -> Iterator[None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        for counter, is_hidden in ((_layer, False), (_hidden, True)):
            count = counter(module, inputs, output)
            if count:
                add(module, count, is_hidden=is_hidden)

    handles = [module.register_forward_hook(hook) for module in network.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> float:
    if isinstance(module, nn.Linear):
        return float(output.numel() * module.in_features)
    if isinstance(module, nn.ConvTranspose2d):
        taps = module.kernel_size[0] * module.kernel_size[1]
        return float(inputs[0].numel() * module.out_channels * taps // module.groups)
    if isinstance(module, nn.Conv2d):
        taps = module.kernel_size[0] * module.kernel_size[1]
        return float(output.numel() * module.in_channels * taps // module.groups)
    return 0.0


def _hidden(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> float:
    if isinstance(module, SelectiveScan):
        directions, rank, _ = module.dt_weight.shape
        return float(inputs[0].numel() * directions * (rank + _PER_STATE * module.A_log.shape[1]))
    if isinstance(module, Attention):
        batch, tokens, width = inputs[0].shape
        return 2.0 * batch * tokens * tokens * width
    if isinstance(module, Modulation):
        return float(output.numel() * _TAPS * _PER_SAMPLE)
    return 0.0
