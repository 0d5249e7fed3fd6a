"""A lifter's weights as a function of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from posecli.errors import DeviceError
from posecli.evaluation.lift import LifterUnderTest
from posecli.lifting.checkpoint import load_lifter_network
from posecli.lifting.config import LiftConfig
from posecli.records import FloatArray

_BATCH_CPU, _BATCH_CUDA = 2, 32


def load_lifter_under_test(
    name_or_path: str | Path, *, device: str = "cpu", is_mirrored: bool = True
) -> tuple[LifterUnderTest, LiftConfig]:
    """A lifter to be measured, and its settings.

    Args:
        name_or_path: A registered name, or a file.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        is_mirrored: See `posecli.evaluation.lift.LifterUnderTest`.

    Raises:
        WeightsError: The weights cannot be found, read, or are no lifter's.
        DeviceError: The device is not available.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r} is not available", hint="use --device cpu, or a torch built for CUDA")
    network, _ = load_lifter_network(name_or_path)
    place = torch.device(device)
    network.to(place)

    def lift(clips: FloatArray) -> FloatArray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(clips).to(place)).float().cpu().numpy())

    config = network.config
    lifter = LifterUnderTest(
        lift=lift,
        normalisation=config.normalisation,
        in_channels=config.in_channels,
        is_mirrored=is_mirrored,
        batch_size=_BATCH_CUDA if place.type == "cuda" else _BATCH_CPU,
    )
    return lifter, config
