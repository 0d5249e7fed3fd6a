"""Training a lifter: it learns, goes on where it stopped, and refuses what is no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from posecli.errors import ConfigError, PoseCliError
from posecli.training.lifting.loop import LiftStep, LiftTrainer
from posecli.training.lifting.recipe import LiftRecipe, LiftSchedule, MotionData, read_lift_recipe

RECIPE = LiftRecipe(
    name="tiny",
    network="none",
    data=MotionData(mocap="none.npz"),
    schedule=LiftSchedule(
        steps=6, lengths=(3, 5), frames_per_step=10, learning_rate=0.05, warmup_steps=1, precision="fp32"
    ),
    ema_decay=0.5,
)


class Linear(nn.Module):
    """(B, F, J, 3) -> the same shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)

    def forward(self, joints: Tensor) -> Tensor:
        lifted: Tensor = self.layer(joints)
        return lifted


def draw(rng: np.random.Generator, num_clips: int, num_frames: int) -> tuple[Tensor, Tensor]:
    """Points, and these turned by a right angle."""
    points = rng.normal(size=(num_clips, num_frames, 17, 3)).astype(np.float32)
    return torch.from_numpy(points), torch.from_numpy(points[..., [1, 0, 2]])


def train(
    folder: Path, recipe: LiftRecipe = RECIPE, stop_after: int = 1000
) -> tuple[dict[str, Tensor], list[LiftStep]]:
    trainer = LiftTrainer(recipe, Linear(), draw, folder, checkpoint_every=2)
    steps: list[LiftStep] = []

    def report(step: LiftStep) -> None:
        steps.append(step)
        if len(steps) == stop_after:
            raise KeyboardInterrupt

    return trainer.run(report), steps


def test_it_learns(tmp_path: Path) -> None:
    recipe = replace(RECIPE, schedule=replace(RECIPE.schedule, steps=150))
    _, steps = train(tmp_path, recipe)
    assert steps[-1].loss < 0.3 * steps[0].loss
    assert [step.step for step in steps] == list(range(1, 151))


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, steps = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop_after=5)
    resumed, rest = train(tmp_path / "cut")
    assert [step.step for step in rest] == [5, 6]  # the checkpoint is of step 4
    assert [step.loss for step in rest] == [step.loss for step in steps[4:]]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(ConfigError, match="another recipe"):
        train(tmp_path, replace(RECIPE, seed=1))


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    def broken(rng: np.random.Generator, num_clips: int, num_frames: int) -> tuple[Tensor, Tensor]:
        inputs, targets = draw(rng, num_clips, num_frames)
        return inputs, targets * float("nan")

    network = Linear()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(PoseCliError, match="tiny: the loss is nan"):
        LiftTrainer(RECIPE, network, broken, tmp_path).run(lambda step: None)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_embedded_lifters_recipe_is_read() -> None:
    recipe = read_lift_recipe(Path("posecli/training/recipes/posecli-lifter.toml"))
    assert recipe.network == "posecli-lifter"
    assert recipe.schedule.lengths == (9, 27, 27, 81, 243)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ('mocap = "a"\nmotions = "b"', "motions and avatars"),
        ('mocap = "a"\nshare = 0.5', "motions and avatars"),
        ('mocap = "a"\nnoise = 2.0', "between 0 and 1"),
        ('mocap = "a"\nnois = 0.5', "unknown key 'nois'"),
    ],
)
def test_wrong_recipes_name_what_is_wrong(tmp_path: Path, changed: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'name = "a"\nnetwork = "posecli-lifter"\n[data]\n{changed}\n[schedule]\nsteps = 3\n')
    with pytest.raises(ConfigError, match=message):
        read_lift_recipe(path)


def test_a_step_must_hold_the_longest_clip() -> None:
    with pytest.raises(ConfigError, match="holds no clip of 243 frames"):
        LiftSchedule(steps=1, frames_per_step=100)
