"""PersonNet's first weights: an earlier PersonNet as a whole, a pose network's encoder, or nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from posecli.errors import ConfigError
from posecli.people.personnet import ENCODER_TENSORS, PersonNet, PersonNetConfig
from posecli.weights import load_weights

_LAST_OF_CENTRE = ("centre.1.weight", "centre.1.bias")


def initialise(model: PersonNet, path: Path) -> int:
    """Copy weights.

    Args:
        model: Changed in place.
        path: Detector weights (safetensors), of which all are taken; or pose weights or a checkpoint of the pose training (of which
            the averaged weights are taken), for the encoder.

    Returns:
        How many tensors were copied.

    Raises:
        ConfigError: The file holds no network of this size.
        WeightsError: A safetensors file is missing or corrupt.
    """
    given = _read(path)
    own = model.state_dict()
    is_whole = any(name.startswith("centre.") for name in given)
    wanted = [name for name in own if is_whole or name.startswith(ENCODER_TENSORS)]
    absent = [name for name in wanted if name not in given or given[name].shape != own[name].shape]
    if absent:
        raise ConfigError(f"{path}: its encoder does not fit: {absent[0]} is absent or of another shape")
    model.load_state_dict({**own, **{name: given[name] for name in wanted}})
    return len(wanted)


def initialise_from_nothing(model: PersonNet) -> None:
    """Weights by chance that let signals through, in place: without norms torch's own would make them fade (He et al. 2015)."""
    for module in model.encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors by their names in PersonNet."""
    if path.suffix == ".safetensors":
        loaded = load_weights(path)
        if loaded.kind == "detector":
            return _calibrated(loaded.tensors, PersonNetConfig.from_json(loaded.config))
        tensors = loaded.tensors
    else:
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)["averaged"]
        except (OSError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
            raise ConfigError(f"{path}: not a checkpoint of the pose training: {error}") from error
    return {name.removeprefix("network."): value for name, value in tensors.items()}


def _calibrated(tensors: dict[str, Tensor], config: PersonNetConfig) -> dict[str, Tensor]:
    """The calibration becomes part of the last convolution: training starts from scores that mean something."""
    weight, bias = (tensors[name].float() * config.score_scale for name in _LAST_OF_CENTRE)
    return {**tensors, _LAST_OF_CENTRE[0]: weight, _LAST_OF_CENTRE[1]: bias + config.score_shift}
