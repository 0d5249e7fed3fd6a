"""A bigger encoder that starts as a smaller one: the same outputs, and room to learn more (after Net2Net, Chen et al. 2016).

The small encoder's channels come first in every tensor of the big one. New channels start at random, but nothing that was there before
listens to them yet; new residual blocks start as the identity.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from posecli.errors import ConfigError

_ENDS_A_BLOCK = "second.norm.weight"


def grow(small: Mapping[str, Tensor], big: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a big encoder that computes what a small one does.

    Args:
        small: State of the trained encoder.
        big: State of a fresh one, no part of it narrower, nowhere with fewer blocks.

    Returns:
        A new state for the big one.

    Raises:
        ConfigError: The small one does not fit into the big one.
    """
    unknown = sorted(set(small) - set(big))
    if unknown:
        raise ConfigError(f"the encoder to start from has {unknown[0]!r}, the one to train has not")
    return {name: _grown(name, small.get(name), value) for name, value in big.items()}


def _grown(name: str, old: Tensor | None, fresh: Tensor) -> Tensor:
    grown = fresh.detach().clone()
    if old is None:
        return grown.zero_() if name.endswith(_ENDS_A_BLOCK) else grown
    if old.ndim != fresh.ndim or any(was > now for was, now in zip(old.shape, fresh.shape, strict=True)):
        raise ConfigError(
            f"the encoder to start from does not fit: {name} is {tuple(old.shape)} there, {tuple(fresh.shape)} here"
        )
    if old.ndim < 2:
        grown[tuple(slice(side) for side in old.shape)] = old
        return grown
    num_out, num_in = old.shape[:2]
    grown[:num_out] = 0.0
    grown[:num_out, :num_in] = old
    return grown
