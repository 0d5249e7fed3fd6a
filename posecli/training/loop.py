"""The training loop: stages of constant shape, averaged weights, resumable to the step.

Every batch is drawn from a generator seeded by (recipe seed, stage, step), so a resumed run sees exactly the batches that an
uninterrupted one would have seen, and no generator state has to be stored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecli.encoder import place
from posecli.errors import PoseCliError
from posecli.pose.config import PoseConfig, get_pose_config
from posecli.training.batches import Batch, stage_batches
from posecli.training.checkpoint import FILE_NAME, read_checkpoint, recipe_fingerprint, write_checkpoint
from posecli.training.losses import heatmap_loss
from posecli.training.models import build_model, carry_over
from posecli.training.people import People
from posecli.training.recipe import Recipe, StageConfig
from posecli.training.schedule import follow, learning_rate
from posecli.weights import load_weights


@dataclass(frozen=True, slots=True)
class StepReport:
    """One line of the training log."""

    stage: str
    step: int
    num_steps: int
    loss: float
    learning_rate: float
    seconds: float


class Trainer:
    """Runs a recipe.

    Args:
        recipe: What to train.
        sets: The people of the recipe's sets, in the order of its shares.
        folder: Checkpoints and the log go here; an existing checkpoint of the same recipe is continued.
        checkpoint_every: Steps between checkpoints.
        device: Where the network lives.
        workers: Processes that make batches ahead of time; 0: none.
    """

    def __init__(
        self,
        recipe: Recipe,
        sets: Sequence[People],
        folder: Path,
        *,
        checkpoint_every: int = 500,
        device: str = "cpu",
        workers: int = 0,
    ) -> None:
        self.workers = workers
        self.recipe, self.sets, self.folder = recipe, sets, folder
        self.config: PoseConfig = get_pose_config(recipe.network)
        self.checkpoint_every = checkpoint_every
        self.device = torch.device(device)
        self.stage_index, self.step = 0, 0
        self._last_step_s = time.perf_counter()
        self._fingerprint = recipe_fingerprint(recipe)
        self._initial = _initial_tensors(recipe)
        folder.mkdir(parents=True, exist_ok=True)
        if self.checkpoint_path.exists():
            self._resume()
        else:
            self._start_stage(previous=None)

    @property
    def checkpoint_path(self) -> Path:
        """Where the state for resuming is kept."""
        return self.folder / FILE_NAME

    @property
    def stage(self) -> StageConfig:
        """The stage that runs now."""
        return self.recipe.stages[self.stage_index]

    def run(self, report: Callable[[StepReport], None]) -> dict[str, Tensor]:
        """Train to the end.

        Args:
            report: Called after every step.

        Returns:
            The averaged weights of the network, ready for release.

        Raises:
            PoseCliError: The loss stopped being a number.
        """
        while True:
            batches = stage_batches(self.recipe, self.sets, self.stage_index, start=self.step, workers=self.workers)
            for step_batches in batches:
                report(self._train_step(step_batches))
                if self.step % self.checkpoint_every == 0:
                    self._save()
            if self.stage_index + 1 == len(self.recipe.stages):
                self._save()
                return {k.removeprefix("network."): v.clone() for k, v in self.averaged.items()}
            self.stage_index, self.step = self.stage_index + 1, 0
            self._start_stage(previous=self.averaged)
            self._save()

    def _start_stage(self, previous: dict[str, Tensor] | None) -> None:
        torch.manual_seed(self.recipe.seed)
        self.model = build_model(self.config, self.stage)
        place(self.model, self.device)
        # a stage may train parts that the one before did not have: those start from the recipe's initial weights
        for tensors in (self._initial, previous):
            if tensors is not None:
                carry_over(tensors, self.model)
        self.model.train()
        self.averaged = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_parameter_groups(self.model, self.stage), lr=self.stage.learning_rate)

    def _train_step(self, batches: Sequence[Batch]) -> StepReport:
        stage = self.stage
        rate = learning_rate(stage, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        self.optimiser.zero_grad(set_to_none=True)
        value = sum(self._add_gradients(batch) for batch in batches) / len(batches)
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip))
        if not math.isfinite(value) or not math.isfinite(norm):
            raise PoseCliError(
                f"{stage.name}: the loss is {value} and its gradient {norm} at step {self.step}",
                hint="lower learning_rate; the last checkpoint is good",
            )
        self.optimiser.step()
        self.step += 1
        follow(self.averaged, self.model, decay=self.recipe.ema_decay, step=self.step)
        return StepReport(stage.name, self.step, stage.steps, value, rate, self._lap())

    def _add_gradients(self, batch: Batch) -> float:
        """Those of one batch, added to what is there; its loss."""
        images, cells, is_labelled = (tensor.to(self.device, non_blocking=True) for tensor in batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.stage.precision == "bf16"):
            heatmaps = self.model(images)
        loss = heatmap_loss(heatmaps, cells, is_labelled, sigma=self.recipe.sigma, steadiness=self.recipe.steadiness)
        loss.backward()
        return float(loss.detach())

    def _lap(self) -> float:
        """Seconds since the last step ended: with the making of the batch, as someone who waits sees it."""
        now = time.perf_counter()
        seconds, self._last_step_s = now - self._last_step_s, now
        return seconds

    def _save(self) -> None:
        state: dict[str, Any] = {
            "stage_index": self.stage_index,
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
        }
        write_checkpoint(self.checkpoint_path, state, fingerprint=self._fingerprint)

    def _resume(self) -> None:
        state = read_checkpoint(self.checkpoint_path, fingerprint=self._fingerprint, device=self.device)
        self.stage_index, self.step = state["stage_index"], state["step"]
        self._start_stage(previous=None)
        self.model.load_state_dict(state["model"])
        self.averaged = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])


def _initial_tensors(recipe: Recipe) -> dict[str, Tensor] | None:
    if not recipe.initial:
        return None
    return {name: value.float() for name, value in load_weights(recipe.initial).tensors.items()}


def _parameter_groups(model: nn.Module, stage: StageConfig) -> list[dict[str, Any]]:
    """No weight decay on biases, norms and the scan's own parameters; the encoder's rate scaled."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_encoder = stage.part == "network" and ".encoder." in f".{name}"
        has_decay = parameter.ndim > 1 and not getattr(parameter, "no_weight_decay", False)
        groups.setdefault((is_encoder, has_decay), []).append(parameter)
    return [
        {
            "params": parameters,
            "factor": stage.encoder_rate if is_encoder else 1.0,
            "weight_decay": stage.weight_decay if has_decay else 0.0,
        }
        for (is_encoder, has_decay), parameters in groups.items()
    ]
