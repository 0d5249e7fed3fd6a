"""Learning rates and averaged weights, the same for every kind of training."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class Schedule(Protocol):
    """What a stage says about its learning rate."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def learning_rate(self) -> float:
        """Peak."""

    @property
    def warmup_steps(self) -> int:
        """Steps of linear growth up to the peak."""

    @property
    def final_fraction(self) -> float:
        """Part of the peak left at the end."""


def learning_rate(stage: Schedule, step: int) -> float:
    """Linear warm-up, then a cosine down to ``final_fraction``."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    progress = (step - stage.warmup_steps) / max(1, stage.steps - stage.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return stage.learning_rate * (stage.final_fraction + (1.0 - stage.final_fraction) * cosine)


def follow(averaged: dict[str, Tensor], model: nn.Module, *, decay: float, step: int) -> None:
    """Move averaged weights towards a model's, in place.

    Args:
        averaged: A copy of the model's state.
        model: After its step number ``step``.
        decay: Of the exponential average; it grows up to this with the step, so that the random start is forgotten.
        step: From 1.
    """
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            kept = averaged[name]
            if value.dtype.is_floating_point:
                kept.lerp_(value.detach(), 1.0 - decay)
            else:
                kept.copy_(value)
