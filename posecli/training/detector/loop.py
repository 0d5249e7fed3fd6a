"""The detector's training loop: averaged weights, resumable to the step.

Every batch is drawn from a generator seeded by (recipe seed, step), so a resumed run sees exactly the batches that an uninterrupted
one would have seen, and no generator state has to be stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from posecli.encoder import place
from posecli.errors import ConfigError
from posecli.people.personnet import ENCODER_TENSORS, PersonNet
from posecli.training.checkpoint import FILE_NAME, read_checkpoint, recipe_fingerprint, write_checkpoint
from posecli.training.detector.augment import Example, make_example
from posecli.training.detector.data import Picture, load_pictures
from posecli.training.detector.initialise import initialise, initialise_from_nothing
from posecli.training.detector.loss import Targets, assign, box_loss, make_targets, score_loss
from posecli.training.detector.recipe import DetectorRecipe, read_detector_recipe
from posecli.training.mixing import mix_weights
from posecli.training.norms import add_norms, fit_norms, without_norms
from posecli.training.optimisation import Optimisation, decay_groups
from posecli.training.recipe import recipe_facts
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
        self._fingerprint = recipe_fingerprint(recipe)
        self._first = _first_weights(recipe, init) if recipe.initial_share and init is not None else {}
        torch.manual_seed(recipe.seed)
        self.model = PersonNet(recipe.network)
        folder.mkdir(parents=True, exist_ok=True)
        is_resumed = self.checkpoint_path.exists()
        if not is_resumed:
            if init is None:
                initialise_from_nothing(self.model)
            else:
                initialise(self.model, init)
        place(self.model, torch.device("cpu"))
        self.model.train()
        schedule = recipe.schedule
        self.model.encoder.hold(schedule.held_levels)
        if recipe.has_norms:
            added = add_norms(self.model)
            if not is_resumed:
                fit_norms(added, lambda: self.model(self._batch(0)[0]))
        self.optimisation = Optimisation(
            self.model,
            decay_groups(
                self.model, schedule.weight_decay, has_own_rate=_is_of_encoder, own_rate=schedule.encoder_rate
            ),
            schedule,
            gradient_clip=recipe.gradient_clip,
            ema_decay=recipe.ema_decay,
        )
        if is_resumed:
            state = read_checkpoint(self.checkpoint_path, fingerprint=self._fingerprint, device=torch.device("cpu"))
            self.optimisation.restore(state)

    @property
    def checkpoint_path(self) -> Path:
        """Where the state for resuming is kept."""
        return self.folder / FILE_NAME

    @property
    def step(self) -> int:
        """How many steps were taken."""
        return self.optimisation.step

    def run(self, report: Callable[[DetectorStep], None]) -> dict[str, Tensor]:
        """Train to the end.

        Args:
            report: Called after every step.

        Returns:
            The averaged weights, ready for release.

        Raises:
            PoseCliError: The loss or its gradient stopped being a number.
        """
        while self.step < self.recipe.schedule.steps:
            report(self._train_step())
            if self.step % self.checkpoint_every == 0 or self.step == self.recipe.schedule.steps:
                write_checkpoint(self.checkpoint_path, self.optimisation.state(), fingerprint=self._fingerprint)
        averaged = self.optimisation.averaged
        trained = without_norms(self.model, averaged) if self.recipe.has_norms else averaged
        return mix_weights(trained, self._first, self.recipe.initial_share)

    def _train_step(self) -> DetectorStep:
        start = time.perf_counter()
        schedule, rate = self.recipe.schedule, self.optimisation.rate
        images, targets = self._batch(self.step)
        ready = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=schedule.precision == "bf16"):
            logits, boxes = self.model(images)
        assignment = assign(logits, boxes, targets)
        centre, box = score_loss(logits, targets, assignment), box_loss(boxes, targets, assignment)
        loss = centre + self.recipe.box_loss_weight * box
        self.optimisation.advance(partial(_add_gradients, loss), name=self.recipe.name)
        end = time.perf_counter()
        return DetectorStep(
            self.step, schedule.steps, float(centre.detach()), float(box.detach()), rate, ready - start, end - start
        )

    def _batch(self, step: int) -> tuple[Tensor, Targets]:
        """(B, 3, S, S) uint8 and the targets."""
        rng = np.random.default_rng((self.recipe.seed, step))
        schedule = self.recipe.schedule
        side = int(rng.choice(schedule.sizes_px))
        is_plain = step >= schedule.steps * (1.0 - schedule.plain_fraction)
        examples = [self._example(side, is_plain, rng) for _ in range(schedule.pixels_per_step // side**2)]
        images = torch.from_numpy(np.stack([example.image for example in examples]))
        return images.permute(0, 3, 1, 2), make_targets(examples)

    def _example(self, side: int, is_plain: bool, rng: np.random.Generator) -> Example:
        count = _MOSAIC if rng.random() < self.recipe.augment.mosaic and not is_plain else 1
        shares = np.array([data.share for data in self.recipe.data])
        chosen = rng.choice(len(shares), size=count, p=shares / shares.sum())
        pictures = [self.sets[k][int(rng.integers(len(self.sets[k])))] for k in chosen.tolist()]
        return make_example(pictures, self.recipe.augment, side_px=side, rng=rng)


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
    metadata = {
        "recipe": recipe_facts(recipe),
        "steps": trainer.step,
        "num_pictures": [len(pictures) for pictures in sets],
    }
    save_weights(path, averaged, kind="detector", config=asdict(recipe.network), metadata=metadata, overwrite=True)
    return path


def _first_weights(recipe: DetectorRecipe, init: Path) -> dict[str, Tensor]:
    """Those that training begins with, to be mixed into what it ends with."""
    network = PersonNet(recipe.network)
    tensors = network.state_dict()
    if initialise(network, init) < len(tensors):
        raise ConfigError(
            f"recipe {recipe.name}: initial_share needs the weights of a whole detector, {init} holds an encoder"
        )
    return tensors


def _is_of_encoder(name: str) -> bool:
    """Whether a parameter is one of the encoder's."""
    return name.startswith(ENCODER_TENSORS)


def _add_gradients(loss: Tensor) -> float:
    loss.backward()
    return float(loss.detach())
