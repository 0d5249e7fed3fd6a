"""The training loop: stages of constant shape, averaged weights, resumable to the step.

Every batch is drawn from a generator seeded by (recipe seed, stage, step), so a resumed run sees exactly the batches that an
uninterrupted one would have seen, and no generator state has to be stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from posecli.encoder import place
from posecli.errors import ConfigError
from posecli.pose.checkpoint import load_network
from posecli.pose.config import PoseConfig, get_pose_config
from posecli.pose.network import PoseNetwork
from posecli.training.batches import Batch, stage_batches
from posecli.training.checkpoint import FILE_NAME, read_checkpoint, recipe_fingerprint, write_checkpoint
from posecli.training.embedding import fit_embedding
from posecli.training.linear_head import fit_linear_head
from posecli.training.losses import heatmap_loss
from posecli.training.mixing import mix_weights
from posecli.training.models import EncoderPretraining, NetworkTraining, build_model, carry_over, start_training
from posecli.training.norms import add_norms, fit_norms, without_norms
from posecli.training.optimisation import Optimisation, decay_groups
from posecli.training.people import People
from posecli.training.recipe import Recipe, StageConfig
from posecli.weights import load_weights

_ENCODER = "encoder."
_STEPS_TO_FIT = 4


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
        self.stage_index = 0
        self._last_step_s = time.perf_counter()
        self._fingerprint = recipe_fingerprint(recipe)
        self._initial = _initial_tensors(recipe)
        if recipe.initial_share:
            _check_whole(recipe, self._initial or {}, self.config)
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

    def _batches(self, start: int, *, workers: int = 0) -> Iterator[tuple[Batch, ...]]:
        shows = self.config.shows
        return stage_batches(self.recipe, self.sets, self.stage_index, start=start, workers=workers, shows=shows)

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
            start = self.optimisation.step
            batches = self._batches(start, workers=self.workers)
            for step_batches in batches:
                report(self._train_step(step_batches))
                if self.optimisation.step % self.checkpoint_every == 0:
                    self._save()
            averaged = self.optimisation.averaged
            if self.stage.has_norms:
                averaged = without_norms(self.model, averaged)
            if self.stage_index + 1 == len(self.recipe.stages):
                self._save()
                trained = {k.removeprefix("network."): v.clone() for k, v in averaged.items()}
                return mix_weights(trained, self._initial or {}, self.recipe.initial_share)
            self.stage_index += 1
            self._start_stage(previous=averaged)
            self._save()

    def _fit_embedding(self) -> None:
        """The recipe's initial blocks, under another encoder than theirs, get the tokens they know."""
        if not self.recipe.initial_encoder or not isinstance(self.model, NetworkTraining):
            return
        old, _ = load_network(self.recipe.initial)
        batches = self._batches(0)
        crops = [batch.images for step in islice(batches, _STEPS_TO_FIT) for batch in step]
        place(old, self.device)
        fit_embedding(self.model.network, old, (images.to(self.device) for images in crops))

    def _fit_head(self, *, is_first: bool) -> None:
        """An encoder that comes trained gets a head that fits it."""
        if not is_first or self._initial is None or not isinstance(self.model, EncoderPretraining):
            return
        batches = self._batches(0)
        fit_linear_head(self.model, batches, sigma=self.recipe.sigma)

    def _add_norms(self, *, is_resumed: bool) -> None:
        """Those that the stage wants; they begin with the statistics of its first step's pictures."""
        added = add_norms(self.model) if self.stage.has_norms else []
        if added and not is_resumed:
            first = next(iter(self._batches(0)))
            fit_norms(added, lambda: self.model(*(batch.images.to(self.device) for batch in first)))

    def _start_stage(self, previous: dict[str, Tensor] | None, *, is_resumed: bool = False) -> None:
        torch.manual_seed(self.recipe.seed)
        stage = self.stage
        self.model = build_model(self.config, stage)
        place(self.model, self.device)
        # a stage may train parts that the one before did not have: those start from the recipe's initial weights
        for tensors in (self._initial, previous):
            if tensors is not None:
                carry_over(tensors, self.model)
        if not is_resumed:
            self._fit_embedding()
            self._fit_head(is_first=previous is None)
        start_training(self.model, stage)
        self._add_norms(is_resumed=is_resumed)
        self.optimisation = Optimisation(
            self.model,
            decay_groups(
                self.model,
                stage.weight_decay,
                has_own_rate=lambda name: stage.part == "network" and ".encoder." in f".{name}",
                own_rate=stage.encoder_rate,
            ),
            stage,
            gradient_clip=self.recipe.gradient_clip,
            ema_decay=self.recipe.ema_decay,
        )

    def _train_step(self, batches: Sequence[Batch]) -> StepReport:
        stage, rate = self.stage, self.optimisation.rate
        loss = self.optimisation.advance(lambda: self._add_gradients(batches), name=stage.name)
        return StepReport(stage.name, self.optimisation.step, stage.steps, loss, rate, self._lap())

    def _add_gradients(self, batches: Sequence[Batch]) -> float:
        """Those of a step's batches, together; their mean loss."""
        placed = [Batch(*(tensor.to(self.device, non_blocking=True) for tensor in batch)) for batch in batches]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.stage.precision == "bf16"):
            heatmaps = self.model(*(batch.images for batch in placed))
        recipe = self.recipe
        losses = [
            heatmap_loss(
                maps,
                batch.cells,
                batch.is_labelled,
                sigma=recipe.sigma,
                steadiness=recipe.steadiness,
                exactness=recipe.exactness,
            )
            for maps, batch in zip(heatmaps, placed, strict=True)
        ]
        loss = torch.stack(losses).sum()
        loss.backward()
        return float(loss.detach()) / len(batches)

    def _lap(self) -> float:
        """Seconds since the last step ended: with the making of the batch, as someone who waits sees it."""
        now = time.perf_counter()
        seconds, self._last_step_s = now - self._last_step_s, now
        return seconds

    def _save(self) -> None:
        state = {"stage_index": self.stage_index, **self.optimisation.state()}
        write_checkpoint(self.checkpoint_path, state, fingerprint=self._fingerprint)

    def _resume(self) -> None:
        state = read_checkpoint(self.checkpoint_path, fingerprint=self._fingerprint, device=self.device)
        self.stage_index = state["stage_index"]
        self._start_stage(previous=None, is_resumed=True)
        self.optimisation.restore(state)


def _initial_tensors(recipe: Recipe) -> dict[str, Tensor] | None:
    tensors = _read_tensors(recipe.initial)
    if recipe.initial_encoder:
        encoder = _read_tensors(recipe.initial_encoder)
        tensors = {name: value for name, value in tensors.items() if not name.startswith(_ENCODER)}
        tensors |= {name: value for name, value in encoder.items() if name.startswith(_ENCODER)}
    return tensors or None


def _check_whole(recipe: Recipe, initial: Mapping[str, Tensor], config: PoseConfig) -> None:
    """Two networks can only be mixed if both are whole, and alike.

    Raises:
        ConfigError: The initial weights are not.
    """
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in PoseNetwork(config).state_dict().items()}
    if shapes != {name: value.shape for name, value in initial.items()}:
        raise ConfigError(
            f"recipe {recipe.name}: initial_share needs the weights of a whole {recipe.network}; {recipe.initial} are others"
        )


def _read_tensors(name: str) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_weights(name).tensors.items()} if name else {}
