"""Between the two ends of a training run: a mean of both may be better than either (Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def mix_weights(trained: Mapping[str, Tensor], initial: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Go back towards the initial weights.

    Args:
        trained: Weights by name.
        initial: As many, of the same shapes.
        share: Part of the initial ones; 0: as trained, whatever the initial ones are.

    Returns:
        Their weighted mean; what is no floating point number (counts of batches) is as trained.
    """
    if not share:
        return dict(trained)
    return {
        name: value.lerp(initial[name].to(value), share) if value.is_floating_point() else value
        for name, value in trained.items()
    }
