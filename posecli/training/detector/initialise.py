"""PersonNet's encoder from a pose network's."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from posecli.errors import ConfigError
from posecli.people.personnet import PersonNet
from posecli.weights import load_weights


def initialise_encoder(model: PersonNet, path: Path) -> int:
    """Copy the encoder's weights.

    Args:
        model: Changed in place.
        path: Pose weights (safetensors) or a checkpoint of the pose training, of which the averaged weights are taken.

    Returns:
        How many tensors were copied.

    Raises:
        ConfigError: The file holds no encoder of this size.
        WeightsError: A safetensors file is missing or corrupt.
    """
    given = _read(path)
    own = model.state_dict()
    wanted = [name for name in own if name.startswith("encoder.") and ".context." not in name]
    absent = [name for name in wanted if name not in given or given[name].shape != own[name].shape]
    if absent:
        raise ConfigError(f"{path}: its encoder does not fit: {absent[0]} is absent or of another shape")
    model.load_state_dict({**own, **{name: given[name] for name in wanted}})
    return len(wanted)


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors by their names in PersonNet."""
    if path.suffix == ".safetensors":
        tensors = load_weights(path).tensors
    else:
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
        except (OSError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
            raise ConfigError(f"{path}: not a checkpoint of the pose training: {error}") from error
    return {name.removeprefix("network."): value for name, value in tensors.items()}
