"""Lifters to and from weights files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from posecli.errors import ConfigError, WeightsError
from posecli.lifting.config import LiftConfig
from posecli.lifting.network import PoseMamba
from posecli.weights import LoadedWeights, load_weights, save_weights
from posecli.weights.fitting import build_fitting

KIND = "lifting"


def load_lifter_network(name_or_path: str | Path) -> tuple[PoseMamba, LoadedWeights]:
    """A lifter ready for inference: eval mode, no gradients, 32-bit floats.

    Args:
        name_or_path: A registered name, or a file.

    Returns:
        The network and what was read.

    Raises:
        WeightsError: The weights cannot be found or read, are of another kind, or do not fit their own config.
    """
    loaded = load_weights(name_or_path)
    if loaded.kind != KIND:
        raise WeightsError(f"{loaded.path}: holds weights of kind {loaded.kind!r}, not {KIND!r}")
    try:
        config = LiftConfig.from_json(loaded.config)
    except ConfigError as error:
        raise WeightsError(f"{loaded.path}: {error}") from error
    network = build_fitting(loaded, lambda: PoseMamba(config))
    network.eval().requires_grad_(False)
    return network, loaded


def save_lifter_network(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: LiftConfig,
    *,
    metadata: Mapping[str, Any],
    overwrite: bool = False,
) -> str:
    """Write a lifter's weights.

    Args:
        path: A ``.safetensors`` file.
        tensors: Its state dict.
        config: What rebuilds the network.
        metadata: Training facts, JSON.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The file's SHA-256.
    """
    return save_weights(path, tensors, kind=KIND, config=config.to_json(), metadata=metadata, overwrite=overwrite)
