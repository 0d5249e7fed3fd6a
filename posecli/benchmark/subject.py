"""What is measured: a pose network with weights, trained or random, on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from posecli.defaults import POSE_WEIGHTS
from posecli.errors import ConfigError
from posecli.pose.checkpoint import save_network
from posecli.pose.config import get_pose_config
from posecli.pose.estimator import PoseEstimator
from posecli.pose.network import PoseNetwork
from posecli.weights import WEIGHTS


@dataclass(frozen=True)
class Subject:
    """A network to measure.

    Attributes:
        config: Name of its config, or of its weights where a file was given.
        weights: What `PoseEstimator.load` was given: a name, or a file.
        has_random_weights: Whether nobody trained it. It costs the same, but what it finds means nothing.
        estimator: The loaded network.
    """

    config: str
    weights: str
    has_random_weights: bool
    estimator: PoseEstimator

    @classmethod
    def prepare(cls, *, config: str | None, weights: str | None, device: str, folder: Path) -> Subject:
        """Load a network, or make one with random weights.

        Args:
            config: One of `posecli.pose.config.POSE_CONFIGS`; trained weights of that name are taken where there are any.
            weights: A registered name or a file instead.
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            folder: For the file of random weights.

        Raises:
            ConfigError: The config is unknown, or both are given.
            WeightsError: The weights cannot be read.
            DeviceError: The device is not available.
        """
        if config is not None and weights is not None:
            raise ConfigError("--config and --weights were both given", hint="weights carry their own config; give one")
        if weights is not None:
            return cls(weights, weights, False, PoseEstimator.load(weights, device=device))
        name = config or POSE_WEIGHTS
        is_trained = name in WEIGHTS
        source = name if is_trained else str(save_random(name, folder / f"{name}.safetensors"))
        return cls(name, source, not is_trained, PoseEstimator.load(source, device=device))


def save_random(config: str, path: Path) -> Path:
    """Write random weights of a config, always the same ones.

    Raises:
        ConfigError: The config is unknown.
    """
    settings = get_pose_config(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PoseNetwork(settings)
    save_network(path, network.state_dict(), settings, metadata={"random": True}, overwrite=True)
    return path
