"""The detector's training loop: averaged weights, resumable to the step.

Every batch is drawn from a generator seeded by (recipe seed, step), so a resumed run sees exactly the batches that an uninterrupted
one would have seen, and no generator state has to be stored.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posecli.encoder import place
from posecli.errors import ConfigError, PoseCliError
from posecli.people.personnet import PersonNet
from posecli.training.checkpoint import FILE_NAME, read_checkpoint, recipe_fingerprint, write_checkpoint
from posecli.training.detector.augment import Example, make_example
from posecli.training.detector.data import Picture, load_pictures
from posecli.training.detector.initialise import initialise
from posecli.training.detector.loss import Targets, assign, box_loss, make_targets, score_loss
from posecli.training.detector.recipe import DetectorRecipe, ScheduleConfig, read_detector_recipe
from posecli.training.schedule import follow, learning_rate
from posecli.weights import save_weights

_MOSAIC = 4


@dataclass(frozen=True, slots=True)
class DetectorStep:
    """One line of the training log: the two losses, and where the time went."""

    step: int
    num_steps: int
    centre_loss: float
    box_loss: float
    learning_rate: float
    data_seconds: float
    seconds: float


class DetectorTrainer:
    """Runs a recipe.

    Args:
        recipe: What to train.
        sets: The pictures of each of the recipe's sets, in its order.
        folder: The checkpoint goes here; an existing one of the same recipe is continued.
        init: Detector weights to start from, or pose weights to take the encoder from, if the recipe says so.
        checkpoint_every: Steps between checkpoints.

    Raises:
        ConfigError: The recipe wants an encoder and ``init`` is missing or does not fit, or the folder belongs to another recipe.
    """

    def __init__(
        self,
        recipe: DetectorRecipe,
        sets: Sequence[Sequence[Picture]],
        folder: Path,
        *,
        init: Path | None = None,
        checkpoint_every: int = 500,
    ) -> None:
        if (init is None) != (recipe.initialise_encoder_from is None):
            raise ConfigError(
                f"recipe {recipe.name}: initialise_encoder_from is {recipe.initialise_encoder_from!r}, but the file given is {init}",
                hint="give the weights of that encoder, or train from a recipe without it",
            )
        self.recipe, self.sets, self.folder, self.checkpoint_every = recipe, sets, folder, checkpoint_every
        self.step = 0
        self._fingerprint = recipe_fingerprint(recipe)
        torch.manual_seed(recipe.seed)
        self.model = PersonNet(recipe.network)
        folder.mkdir(parents=True, exist_ok=True)
        is_resumed = self.checkpoint_path.exists()
        if init is not None and not is_resumed:
            initialise(self.model, init)
        place(self.model, torch.device("cpu"))
        self.model.train()
        self.averaged = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(self.model, recipe.schedule), lr=recipe.schedule.learning_rate
        )
        if is_resumed:
            self._resume()

    @property
    def checkpoint_path(self) -> Path:
        """Where the state for resuming is kept."""
        return self.folder / FILE_NAME

    def run(self, report: Callable[[DetectorStep], None]) -> dict[str, Tensor]:
        """Train to the end.

        Args:
            report: Called after every step.

        Returns:
            The averaged weights, ready for release.

        Raises:
            PoseCliError: The loss stopped being a number.
        """
        while self.step < self.recipe.schedule.steps:
            report(self._train_step())
            if self.step % self.checkpoint_every == 0 or self.step == self.recipe.schedule.steps:
                self._save()
        return self.averaged

    def _train_step(self) -> DetectorStep:
        start = time.perf_counter()
        schedule = self.recipe.schedule
        rate = learning_rate(schedule, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        images, targets = self._batch()
        ready = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
            logits, boxes = self.model(images)
        assignment = assign(logits, boxes, targets)
        centre, box = score_loss(logits, targets, assignment), box_loss(boxes, targets, assignment)
        loss = centre + self.recipe.box_loss_weight * box
        if not math.isfinite(float(loss.detach())):
            raise PoseCliError(
                f"{self.recipe.name}: the loss is not a number at step {self.step}",
                hint="lower learning_rate; the last checkpoint is good",
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimiser.step()
        self.step += 1
        follow(self.averaged, self.model, decay=self.recipe.ema_decay, step=self.step)
        end = time.perf_counter()
        return DetectorStep(
            self.step, schedule.steps, float(centre.detach()), float(box.detach()), rate, ready - start, end - start
        )

    def _batch(self) -> tuple[Tensor, Targets]:
        """(B, 3, S, S) uint8 and the targets."""
        rng = np.random.default_rng((self.recipe.seed, self.step))
        schedule = self.recipe.schedule
        side = int(rng.choice(schedule.sizes_px))
        is_plain = self.step >= schedule.steps * (1.0 - schedule.plain_fraction)
        examples = [self._example(side, is_plain, rng) for _ in range(schedule.pixels_per_step // side**2)]
        images = torch.from_numpy(np.stack([example.image for example in examples]))
        return images.permute(0, 3, 1, 2), make_targets(examples)

    def _example(self, side: int, is_plain: bool, rng: np.random.Generator) -> Example:
        count = _MOSAIC if rng.random() < self.recipe.augment.mosaic and not is_plain else 1
        shares = np.array([data.share for data in self.recipe.data])
        chosen = rng.choice(len(shares), size=count, p=shares / shares.sum())
        pictures = [self.sets[k][int(rng.integers(len(self.sets[k])))] for k in chosen.tolist()]
        return make_example(pictures, self.recipe.augment, side_px=side, rng=rng)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
        }
        write_checkpoint(self.checkpoint_path, state, fingerprint=self._fingerprint)

    def _resume(self) -> None:
        state = read_checkpoint(self.checkpoint_path, fingerprint=self._fingerprint, device=torch.device("cpu"))
        self.step, self.averaged = state["step"], state["averaged"]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])


def train_detector(
    recipe_path: Path,
    data_root: Path,
    run_folder: Path,
    *,
    init: Path | None = None,
    report: Callable[[DetectorStep], None] = lambda step: None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Train a detector from a recipe and write its weights.

    Args:
        recipe_path: TOML.
        data_root: The folder that the recipe's paths are relative to.
        run_folder: Checkpoint and weights go here; an interrupted run continues.
        init: Detector weights (safetensors) to start from; or pose weights or a checkpoint of their training, for the encoder.
        report: Called after every step.
        progress: Called with (done, total) while images are read.

    Returns:
        The weights file, ``<name>.safetensors`` in the run folder.

    Raises:
        ConfigError: The recipe is wrong, or does not fit ``init`` or the run folder.
        FormatError: A data set cannot be read.
        PoseCliError: The training failed.
    """
    recipe = read_detector_recipe(recipe_path)
    sets = [load_pictures(data, data_root, progress=progress) for data in recipe.data]
    trainer = DetectorTrainer(recipe, sets, run_folder, init=init)
    averaged = trainer.run(report)
    path = run_folder / f"{recipe.name}.safetensors"
    metadata = {"recipe": asdict(recipe), "steps": trainer.step, "num_pictures": [len(pictures) for pictures in sets]}
    save_weights(path, averaged, kind="detector", config=asdict(recipe.network), metadata=metadata, overwrite=True)
    return path


def _parameter_groups(model: nn.Module, schedule: ScheduleConfig) -> list[dict[str, Any]]:
    """No weight decay on biases and norms; the given encoder's rate scaled, its new context blocks not."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        is_given = name.startswith("encoder.") and ".context." not in name
        groups.setdefault((is_given, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "factor": schedule.encoder_rate if is_given else 1.0,
            "weight_decay": schedule.weight_decay if has_decay else 0.0,
        }
        for (is_given, has_decay), parameters in groups.items()
    ]
