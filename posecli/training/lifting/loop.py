"""The lifter's training loop: averaged weights, resumable to the step.

Every batch is drawn from a generator seeded by (recipe seed, step), so a resumed run sees exactly the batches that an uninterrupted
one would have seen, and no generator state has to be stored.

Legend: B clips, F frames, J joints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posecli.training.checkpoint import FILE_NAME, read_checkpoint, recipe_fingerprint, write_checkpoint
from posecli.training.lifting.losses import lifting_loss
from posecli.training.lifting.recipe import LiftRecipe, LiftSchedule
from posecli.training.optimisation import Optimisation, decay_groups

DrawClips = Callable[[np.random.Generator, int, int], tuple[Tensor, Tensor]]
"""From a generator, a number of clips B and of frames F: network inputs (B, F, J, C) and true joints (B, F, J, 3) in metres."""


@dataclass(frozen=True, slots=True)
class LiftStep:
    """One line of the training log."""

    step: int
    num_steps: int
    loss: float
    learning_rate: float
    seconds: float


class LiftTrainer:
    """Runs a recipe.

    Args:
        recipe: What to train.
        network: The lifter, or a baseline: (B, F, J, C) -> (B, F, J, 3).
        draw: Makes clips.
        folder: The checkpoint goes here; an existing one of the same recipe is continued.
        checkpoint_every: Steps between checkpoints.
        device: Where to train.

    Raises:
        ConfigError: The folder belongs to another recipe.
    """

    def __init__(
        self,
        recipe: LiftRecipe,
        network: nn.Module,
        draw: DrawClips,
        folder: Path,
        *,
        checkpoint_every: int = 200,
        device: str = "cpu",
    ) -> None:
        self.recipe, self.draw, self.checkpoint_every = recipe, draw, checkpoint_every
        self.device = torch.device(device)
        self.network = network.to(self.device).train()
        groups, matrices = parameter_groups(self.network, recipe.schedule)
        self.optimisation = Optimisation(
            self.network,
            groups,
            recipe.schedule,
            matrices=matrices,
            gradient_clip=recipe.gradient_clip,
            ema_decay=recipe.ema_decay,
        )
        self._fingerprint = recipe_fingerprint(recipe)
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint_path = folder / FILE_NAME
        if self.checkpoint_path.exists():
            state = read_checkpoint(self.checkpoint_path, fingerprint=self._fingerprint, device=self.device)
            self.optimisation.restore(state)

    def run(self, report: Callable[[LiftStep], None]) -> dict[str, Tensor]:
        """Train to the end.

        Args:
            report: Called after every step.

        Returns:
            The averaged weights, ready for release.

        Raises:
            PoseCliError: The loss stopped being a number.
        """
        num_steps = self.recipe.schedule.steps
        while self.optimisation.step < num_steps:
            start, rate = time.perf_counter(), self.optimisation.rate
            loss = self.optimisation.advance(self._add_gradients, name=self.recipe.name)
            step = self.optimisation.step
            report(LiftStep(step, num_steps, loss, rate, time.perf_counter() - start))
            if step % self.checkpoint_every == 0 or step == num_steps:
                write_checkpoint(self.checkpoint_path, self.optimisation.state(), fingerprint=self._fingerprint)
        return self.optimisation.averaged

    def _add_gradients(self) -> float:
        schedule = self.recipe.schedule
        rng = np.random.default_rng((self.recipe.seed, self.optimisation.step))
        frames = int(rng.choice(schedule.lengths))
        inputs, true = (tensor.to(self.device) for tensor in self.draw(rng, schedule.frames_per_step // frames, frames))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=schedule.precision == "bf16"):
            lifted = self.network(inputs)
        loss = lifting_loss(lifted.float(), true, self.recipe.losses)
        loss.backward()
        return float(loss.detach())


def parameter_groups(network: nn.Module, schedule: LiftSchedule) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Parameter groups for AdamW and for Muon: the matrices inside the network, not those it begins and ends with."""
    inner = {
        name: parameter
        for name, parameter in network.named_parameters()
        if schedule.matrix_rate and parameter.ndim == 2 and name.endswith("weight") and "blocks" in name
    }
    matrices = {"params": list(inner.values()), "factor": schedule.matrix_rate, "weight_decay": schedule.weight_decay}
    others = decay_groups(network, schedule.weight_decay, is_left_out=inner.__contains__)
    return others, [matrices] if inner else []
