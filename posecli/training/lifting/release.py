"""From a lifter's recipe to a weights file: what the command line calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from posecli.atomic import check_output
from posecli.errors import ConfigError
from posecli.lifting.checkpoint import load_lifter_network, save_lifter_network
from posecli.lifting.config import get_lift_config
from posecli.lifting.network import PoseMamba
from posecli.training.lifting.loop import LiftStep, LiftTrainer
from posecli.training.lifting.mixture import load_mixture
from posecli.training.lifting.recipe import LiftRecipe
from posecli.training.recipe import recipe_facts


def train_lifter(
    recipe: LiftRecipe,
    data: Path,
    run_folder: Path,
    out: Path,
    *,
    device: str = "cpu",
    overwrite: bool = False,
    report: Callable[[LiftStep], None],
) -> str:
    """Train a lifter and write its weights; goes on where an earlier run in the same folder stopped.

    Args:
        recipe: What to train.
        data: Folder that the recipe's paths are relative to.
        run_folder: For the checkpoint.
        out: The ``.safetensors`` file.
        device: Where to train.
        overwrite: Whether ``out`` may be replaced.
        report: Called after every step.

    Returns:
        SHA-256 of the weights file.

    Raises:
        FormatError: Recordings cannot be read.
        ConfigError: The recipe is wrong, or the run folder holds a checkpoint of another recipe.
        OutputError: ``out`` exists or cannot be written.
        PoseCliError: The loss stopped being a number.
    """
    check_output(out, overwrite=overwrite)
    config = get_lift_config(recipe.network)
    draw = load_mixture(recipe.data, data, num_frames=max(recipe.schedule.lengths), seed=recipe.seed)
    torch.manual_seed(recipe.seed)
    network = load_lifter_network(recipe.initial)[0].requires_grad_(True) if recipe.initial else PoseMamba(config)
    if network.config != config:
        raise ConfigError(f"recipe {recipe.name}: {recipe.initial} is no {recipe.network}")
    trainer = LiftTrainer(recipe, network, draw, run_folder, device=device)
    # half precision on disk: measured, the errors stay the same to a tenth of a millimetre, and every version stays in a repository
    tensors = {name: v.half() if v.dtype == torch.float32 else v for name, v in trainer.run(report).items()}
    return save_lifter_network(out, tensors, config, metadata={"recipe": recipe_facts(recipe)}, overwrite=overwrite)
