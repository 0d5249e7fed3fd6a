"""The training loop learns, resumes to the step, and stops on nonsense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from posecli.errors import ConfigError, PoseCliError
from posecli.mobile_encoder import MobileEncoderConfig
from posecli.pose.checkpoint import load_network, save_network
from posecli.pose.config import PoseConfig
from posecli.pose.network import PoseNetwork
from posecli.training import loop
from posecli.training.batches import stage_batches
from posecli.training.loop import StepReport, Trainer
from posecli.training.people import Stills
from posecli.training.recipe import AugmentConfig, DataConfig, Recipe, StageConfig
from posecli.training.stills import load_stills

STAGES = (
    StageConfig("encoder", "encoder", 12, 8, 1, (64, 64), learning_rate=4e-3, warmup_steps=2, precision="fp32"),
    StageConfig("network", "network", 8, 3, 2, (64, 64), learning_rate=2e-3, warmup_steps=2, precision="fp32"),
)
RECIPE = Recipe("tiny", "tiny", STAGES, (DataConfig("set.json", "images"),), seed=3, augment=AugmentConfig(scale=0.1))


@pytest.fixture(autouse=True)
def tiny(tiny_pose_config: PoseConfig, monkeypatch: pytest.MonkeyPatch) -> PoseConfig:
    """The recipe's network, square and of two frames."""
    config = replace(tiny_pose_config, crop_hw=(64, 64), num_frames=2)
    monkeypatch.setattr(loop, "get_pose_config", {"tiny": config}.__getitem__)
    return config


def train(recipe: Recipe, data: Path, folder: Path, *, stop_after: int | None = None) -> tuple[list[float], dict]:
    """Losses, and the released tensors; stops by an exception as a killed run would."""
    losses: list[float] = []

    def report(step: StepReport) -> None:
        losses.append(step.loss)
        if len(losses) == stop_after:
            raise KeyboardInterrupt

    trainer = Trainer(recipe, [Stills(load_stills(recipe.data[0], data))], folder, checkpoint_every=5)
    try:
        return losses, trainer.run(report)
    except KeyboardInterrupt:
        return losses, {}


def test_twenty_steps_learn_and_repeat_exactly(drawn_set: Path, tmp_path: Path) -> None:
    first, tensors = train(RECIPE, drawn_set, tmp_path / "a")
    again, _ = train(RECIPE, drawn_set, tmp_path / "b")
    assert first == again
    assert len(first) == 20
    assert np.mean(first[9:12]) < 0.8 * first[0]
    assert first[-1] < first[0]
    assert {"head.weight", "embed.weight"} <= set(tensors)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(drawn_set: Path, tmp_path: Path) -> None:
    whole, expected = train(RECIPE, drawn_set, tmp_path / "whole")
    before, _ = train(RECIPE, drawn_set, tmp_path / "killed", stop_after=17)
    after, tensors = train(RECIPE, drawn_set, tmp_path / "killed")
    assert before == whole[:17]
    assert after == whole[-len(after) :] and len(after) < 20
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())


def test_a_folder_of_another_recipe_is_refused(drawn_set: Path, tmp_path: Path) -> None:
    train(RECIPE, drawn_set, tmp_path / "run", stop_after=6)
    with pytest.raises(ConfigError, match="another recipe"):
        train(replace(RECIPE, seed=4), drawn_set, tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(drawn_set: Path, tmp_path: Path) -> None:
    wild = replace(RECIPE, gradient_clip=1e9, stages=(replace(STAGES[0], learning_rate=1e30, warmup_steps=1),))
    with pytest.raises(PoseCliError, match="the loss is"):
        train(wild, drawn_set, tmp_path / "run")


def test_released_weights_load_and_estimate_as_trained(drawn_set: Path, tmp_path: Path, tiny: PoseConfig) -> None:
    _, tensors = train(RECIPE, drawn_set, tmp_path / "run")
    path = tmp_path / "tiny.safetensors"
    save_network(path, tensors, tiny, metadata={})
    network, loaded = load_network(path)
    assert loaded.config["d_model"] == 16
    images = torch.randn(1, 2, 3, 64, 64)
    assert network(images).shape == (1, 2, 19, 16, 16)


def test_a_run_can_start_from_released_weights(drawn_set: Path, tmp_path: Path, tiny: PoseConfig) -> None:
    _, tensors = train(RECIPE, drawn_set, tmp_path / "first")
    path = tmp_path / "tiny.safetensors"
    save_network(path, tensors, tiny, metadata={})
    stages = tuple(replace(stage, steps=1, learning_rate=1e-9, warmup_steps=1) for stage in STAGES)
    _, continued = train(replace(RECIPE, initial=str(path), stages=stages), drawn_set, tmp_path / "second")
    assert torch.allclose(continued["embed.weight"], tensors["embed.weight"], atol=1e-4)


def test_norms_come_for_a_stage_and_leave_with_it(
    drawn_set: Path, tmp_path: Path, tiny: PoseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(tiny, encoder=MobileEncoderConfig(0.1))
    monkeypatch.setattr(loop, "get_pose_config", {"tiny": config}.__getitem__)
    recipe = replace(RECIPE, stages=tuple(replace(stage, has_norms=True) for stage in STAGES))
    whole, expected = train(recipe, drawn_set, tmp_path / "whole")
    train(recipe, drawn_set, tmp_path / "killed", stop_after=17)  # in the second stage
    _, tensors = train(recipe, drawn_set, tmp_path / "killed")
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    path = tmp_path / "tiny.safetensors"
    save_network(path, tensors, config, metadata={})
    load_network(path)  # every tensor, and no norms
    assert np.mean(whole[9:12]) < 0.9 * whole[0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine with one processor
def test_batches_made_in_other_processes_are_the_same(drawn_set: Path) -> None:
    sets = [Stills(load_stills(RECIPE.data[0], drawn_set))]
    here = list(stage_batches(RECIPE, sets, 0, start=9))
    elsewhere = list(stage_batches(RECIPE, sets, 0, start=9, workers=2))
    assert len(here) == len(elsewhere) == 3
    for (a,), (b,) in zip(here, elsewhere, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.allclose(a.cells, b.cells, equal_nan=True)
        assert torch.equal(a.is_labelled, b.is_labelled)


def test_single_frames_come_beside_the_windows(drawn_set: Path) -> None:
    stage = replace(STAGES[1], num_singles=3)
    sets = [Stills(load_stills(RECIPE.data[0], drawn_set))]
    windows, singles = next(stage_batches(replace(RECIPE, stages=(STAGES[0], stage)), sets, 1, start=0))
    assert windows.images.shape[:2] == (stage.batch_size, stage.num_frames)
    assert singles.images.shape[:2] == (3, 1)


def test_single_frames_have_shares_of_their_own() -> None:
    entry = RECIPE.data[0]
    recipe = replace(RECIPE, data=(entry, replace(entry, share=2.0, single_share=0.0)))
    assert recipe.shares == (1.0, 2.0) and recipe.single_shares == (1.0, 0.0)


def test_a_run_with_single_frames_learns_from_both(drawn_set: Path, tmp_path: Path) -> None:
    stages = (replace(STAGES[1], num_singles=2),)
    losses, _ = train(replace(RECIPE, stages=stages), drawn_set, tmp_path / "both")
    alone, _ = train(replace(RECIPE, stages=(STAGES[1],)), drawn_set, tmp_path / "alone")
    assert losses[0] != alone[0] and all(np.isfinite(losses))


def test_levels_that_are_held_do_not_move(drawn_set: Path, tmp_path: Path) -> None:
    stages = (replace(STAGES[0], steps=3, held_levels=2),)
    sets = [Stills(load_stills(RECIPE.data[0], drawn_set))]
    trainer = Trainer(replace(RECIPE, stages=stages), sets, tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run(lambda step: None)
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in moved if name.startswith(("encoder.stem.", "encoder.levels.0.", "encoder.levels.1."))]
    assert [name for name in moved if name.startswith("encoder.levels.2.")]


def test_the_encoder_may_come_from_other_weights(drawn_set: Path, tmp_path: Path, tiny: PoseConfig) -> None:
    paths = []
    for seed in (3, 4):
        _, tensors = train(replace(RECIPE, seed=seed), drawn_set, tmp_path / str(seed))
        paths.append(tmp_path / f"{seed}.safetensors")
        save_network(paths[-1], tensors, tiny, metadata={})
    stages = (replace(STAGES[1], learning_rate=1e-12),)
    recipe = replace(RECIPE, initial=str(paths[0]), initial_encoder=str(paths[1]), stages=stages)
    trainer = Trainer(recipe, [Stills(load_stills(recipe.data[0], drawn_set))], tmp_path / "run")
    own = {name.removeprefix("network."): value for name, value in trainer.model.state_dict().items()}
    for path, part in ((paths[1], "encoder."), (paths[0], "blocks.")):
        tensors = load_network(path)[1].tensors
        names = [name for name in own if name.startswith(part)]
        assert names and all(torch.equal(own[name], tensors[name].float()) for name in names)


def test_a_share_of_the_initial_weights_stays_in_what_is_released(
    drawn_set: Path, tmp_path: Path, tiny: PoseConfig
) -> None:
    _, first = train(RECIPE, drawn_set, tmp_path / "first")
    path = tmp_path / "tiny.safetensors"
    save_network(path, first, tiny, metadata={})
    recipe = replace(RECIPE, initial=str(path), seed=5)
    _, trained = train(recipe, drawn_set, tmp_path / "trained")
    _, mixed = train(replace(recipe, initial_share=0.25), drawn_set, tmp_path / "mixed")
    assert set(mixed) == set(trained)
    weights = {name: value for name, value in mixed.items() if value.is_floating_point()}  # the others count batches
    assert all(torch.allclose(v, 0.75 * trained[k] + 0.25 * first[k], atol=1e-6) for k, v in weights.items())


def test_only_whole_networks_are_mixed(drawn_set: Path, tmp_path: Path, tiny: PoseConfig) -> None:
    path = tmp_path / "wide.safetensors"
    wide = replace(tiny, d_model=32)
    save_network(path, PoseNetwork(wide).state_dict(), wide, metadata={})
    with pytest.raises(ConfigError, match="initial_share"):
        train(replace(RECIPE, initial=str(path), initial_share=0.5), drawn_set, tmp_path / "mixed")
    with pytest.raises(ConfigError, match="initial_share"):
        replace(RECIPE, initial_share=0.5)
    with pytest.raises(ConfigError, match="last stage"):
        replace(RECIPE, initial=str(path), initial_share=0.5, stages=STAGES[:1])
