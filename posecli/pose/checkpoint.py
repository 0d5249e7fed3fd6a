"""Pose networks to and from weights files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from posecli.encoder import fold_batch_norms
from posecli.errors import ConfigError, WeightsError
from posecli.pose.config import PoseConfig
from posecli.pose.network import PoseNetwork
from posecli.skeletons import POSECLI19
from posecli.weights import LoadedWeights, load_weights, save_weights
from posecli.weights.fitting import build_fitting

KIND = "pose"


def load_network(name_or_path: str | Path) -> tuple[PoseNetwork, LoadedWeights]:
    """A pose network ready for inference: eval mode, batch norms folded, no gradients.

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
        config = PoseConfig.from_json(loaded.config)
    except ConfigError as error:
        raise WeightsError(f"{loaded.path}: {error}") from error
    network = build_fitting(loaded, lambda: PoseNetwork(config))
    if config.num_keypoints != len(POSECLI19):
        raise WeightsError(f"{loaded.path}: predicts {config.num_keypoints} points, posecli needs {len(POSECLI19)}")
    network.eval().requires_grad_(False)
    fold_batch_norms(network)
    return network, loaded


def save_network(
    path: Path,
    tensors: Mapping[str, Tensor],
    config: PoseConfig,
    *,
    metadata: Mapping[str, Any],
    overwrite: bool = False,
) -> str:
    """Write a pose network's weights.

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
