"""Batch norms for a network that came without: put in where its training begins, folded away where it ends.

Public weights have their norms folded into the convolutions. Without norms a rate that teaches one layer anything ruins another:
PersonNet lost all it knew within 25 steps at 4e-4, and at the rates it bore it had not even learnt its own training pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from posecli.encoder import ConvNorm, fold_batch_norms

Added = list[tuple[nn.Conv2d, nn.BatchNorm2d]]


def add_norms(module: nn.Module) -> Added:
    """Give every convolution that trains a batch norm, in place.

    Args:
        module: Any network that holds `ConvNorm`s; those whose weights are held, and those that have a norm, stay as they are.

    Returns:
        The convolutions and what follows them now; `fit_norms` makes it change nothing.
    """
    added = []
    for child in module.modules():
        if isinstance(child, ConvNorm) and isinstance(child.norm, nn.Identity) and child.conv.weight.requires_grad:
            norm = nn.BatchNorm2d(child.conv.out_channels)
            child.norm = norm
            added.append((child.conv, norm))
    return added


@torch.no_grad()
def fit_norms(added: Added, run: Callable[[], object]) -> None:
    """Let norms take the statistics of some pictures, and scale and shift by just these: outputs stay what they were.

    Args:
        added: What `add_norms` returned.
        run: Runs the network once.
    """
    hooks = [conv.register_forward_hook(partial(_fit, norm)) for conv, norm in added]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()


def without_norms(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What to release: the state of a module that was given norms, as it is without them.

    Args:
        module: As it trained; stays as it is.
        tensors: Its state, or an average of its states.
    """
    plain = copy.deepcopy(module)
    plain.load_state_dict(dict(tensors))
    return fold_batch_norms(plain.eval()).state_dict()


def _fit(norm: nn.BatchNorm2d, conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Called between the convolution and its norm."""
    var, mean = torch.var_mean(output.float(), dim=(0, 2, 3), correction=0)
    norm.running_mean, norm.running_var = mean.clone(), var
    norm.weight.copy_((var + norm.eps).sqrt())
    norm.bias.copy_(mean)
