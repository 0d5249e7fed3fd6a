"""A lifter's recipe: everything that decides what weights come out of a training run, in one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from posecli.errors import ConfigError
from posecli.training.lifting.losses import LossWeights
from posecli.training.recipe import Precision, read_dataclass


@dataclass(frozen=True)
class MotionData:
    """Where motion comes from; paths are relative to the data folder given on the command line.

    Attributes:
        mocap: Recorded joints, ``.npz``.
        motions: Recorded rotations, ``.npz``, that bodies perform; empty: none.
        avatars: Folder of those bodies.
        share: Part of the clips that recorded joints give, the rest is performed by bodies.
        noise: Part of the clips whose keypoints have the errors of posecli's own estimator.
    """

    mocap: str
    motions: str = ""
    avatars: str = ""
    share: float = 1.0
    noise: float = 0.5

    def __post_init__(self) -> None:
        if bool(self.motions) != bool(self.avatars) or (self.share < 1.0 and not self.motions):
            raise ConfigError("data: motions and avatars are given together, and wherever share is below 1")
        if not 0.0 <= self.share <= 1.0 or not 0.0 <= self.noise <= 1.0:
            raise ConfigError(f"data: share {self.share} and noise {self.noise} must lie between 0 and 1")


@dataclass(frozen=True)
class LiftSchedule:
    """How long and how fast.

    Attributes:
        steps: Optimiser steps.
        lengths: Frames of a clip; one is drawn for each step.
        frames_per_step: A step takes as many clips as fit.
        learning_rate: Peak, reached after ``warmup_steps``, then a cosine to ``final_fraction`` of it.
        matrix_rate: Factor on it for the matrices inside the network, which Muon moves then; 0: AdamW moves them as all else.
    """

    steps: int
    lengths: tuple[int, ...] = (27, 81, 243)
    frames_per_step: int = 972
    learning_rate: float = 1e-3
    matrix_rate: float = 0.0
    warmup_steps: int = 100
    final_fraction: float = 0.02
    weight_decay: float = 0.01
    precision: Precision = "bf16"

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.lengths or min(self.lengths) < 1:
            raise ConfigError("schedule: steps and lengths must be positive")
        if self.frames_per_step < max(self.lengths):
            raise ConfigError(
                f"schedule: frames_per_step {self.frames_per_step} holds no clip of {max(self.lengths)} frames"
            )


@dataclass(frozen=True)
class LiftRecipe:
    """A whole training run.

    Attributes:
        name: Name of the weights that come out.
        network: A name of `posecli.lifting.config`, or a baseline's of `posecli.training.lifting.baselines`.
        data: Motion.
        schedule: Length and rates.
        losses: Weights of the terms.
        seed: Decides initialisation, sampling, cameras and noise.
        ema_decay: Decay of the averaged weights, which are the ones released.
        initial: Weights (a registered name or a path) to start from; empty: from nothing.
    """

    name: str
    network: str
    data: MotionData
    schedule: LiftSchedule
    losses: LossWeights = field(default_factory=LossWeights)
    seed: int = 0
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    initial: str = ""


def read_lift_recipe(path: Path) -> LiftRecipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file is missing, is not TOML, or has an unknown key or a value of the wrong type.
    """
    recipe: LiftRecipe = read_dataclass(LiftRecipe, path)
    return recipe
