"""Public ViTPose checkpoints to weights files: the frozen encoder of ``glsmamba-b`` and ``glsmamba-h``.

Two layouts are read, both with the classic decoder, whose two deconvolutions the paper keeps: that of Hugging Face's transformers
(``VitPoseForPoseEstimation``: safetensors, or a pickled state dict) and the authors' (``backbone.*``, ``keypoint_head.*``, under
``state_dict``). Pickles are read with ``weights_only``: no code in them ever runs. Both layouts were read off the public sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from posecli.atomic import check_output
from posecli.errors import WeightsError
from posecli.pose.config import POSE_CONFIGS, PoseConfig, ViTPoseConfig
from posecli.pose.vitpose import ViTPoseEncoder
from posecli.weights.foreign import check_tensors, read_state, save_encoder, shapes_of

LICENCE_NOTE = "ViTPose's code and weights are Apache-2.0; they were trained on COCO and, before that, on ImageNet."
_BLOCK = re.compile(r"backbone\.(?:encoder\.layer|blocks)\.(\d+)\.")
# The last layer predicts COCO's 17 points and is not part of the encoder; the authors' files may carry heads of other data sets
# and the class token of the encoder's ancestor, which ViTPose does not use either.
_LEFT_OUT = re.compile(r"head\.conv\.|keypoint_head\.final_layer\.|associate_keypoint_heads\.|backbone\.cls_token$")
_PARTS_OF_QKV = ("query", "key", "value")
_RENAMED_BLOCK = (
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
)
_RENAMED = (
    ("backbone.embeddings.patch_embeddings.projection.", "patch_embed."),
    ("backbone.patch_embed.proj.", "patch_embed."),
    ("backbone.embeddings.position_embeddings", "pos_embed"),
    ("backbone.pos_embed", "pos_embed"),
    ("backbone.layernorm.", "last_norm."),
    ("backbone.last_norm.", "last_norm."),
    ("backbone.blocks.", "blocks."),
    ("backbone.encoder.layer.", "blocks."),
    ("keypoint_head.deconv_layers.", "deconv_layers."),
    ("head.deconv1.", "deconv_layers.0."),
    ("head.batchnorm1.", "deconv_layers.1."),
    ("head.deconv2.", "deconv_layers.3."),
    ("head.batchnorm2.", "deconv_layers.4."),
)


def import_vitpose(
    path: Path, out: Path, *, overwrite: bool = False, configs: Mapping[str, PoseConfig] | None = None
) -> tuple[str, dict[str, Tensor]]:
    """Convert a public ViTPose checkpoint to a weights file with the encoder of the config it fits.

    Args:
        path: The checkpoint: ``.safetensors``, or a pickle (``.bin``, ``.pth``, ``.pt``).
        out: The ``.safetensors`` file to write.
        overwrite: Whether ``out`` may be replaced.
        configs: Configs to choose from, by name; all of posecli's when left out.

    Returns:
        The name of the config whose encoder it is, and the tensors written.

    Raises:
        WeightsError: There is no such file; it is damaged, holds code, or no ViTPose of these sizes. Every tensor that differs is
            named, up to ten of each sort.
        OutputError: ``out`` exists or cannot be written.
    """
    check_output(out, overwrite=overwrite)
    state = read_state(path, of="ViTPose")
    name, config = _fitting_config(path, state, POSE_CONFIGS if configs is None else configs)
    tensors = convert_vitpose(path, state, config)
    metadata = {"source": "public ViTPose checkpoint", "licence_note": LICENCE_NOTE, "config_name": name}
    settings = {"encoder": asdict(config.encoder) | {"kind": "vitpose"}, "crop_hw": list(config.crop_hw)}
    return name, save_encoder(out, tensors, settings=settings, source=path, metadata=metadata, overwrite=overwrite)


def convert_vitpose(path: Path, state: Mapping[str, Tensor], config: PoseConfig) -> dict[str, Tensor]:
    """Rename the tensors of either layout to those of `ViTPoseEncoder`, joining queries, keys and values; every one is checked.

    Args:
        path: Named in errors.
        state: The checkpoint's tensors.
        config: Whose encoder they should be.

    Returns:
        A state dict of `ViTPoseEncoder` (counters as they are, all others 32-bit).

    Raises:
        WeightsError: A tensor is missing, unexpected, or has another shape.
    """
    converted: dict[str, Tensor] = {}
    for key, value in _joined_qkv(path, state).items():
        if _LEFT_OUT.match(key):
            continue
        renamed = _renamed(key)
        if renamed in converted:
            raise WeightsError(f"{path}: holds {renamed} twice, in two layouts")
        converted[renamed] = value.float() if value.is_floating_point() else value
    _check(path, converted, config)
    return converted


def _fitting_config(
    path: Path, state: Mapping[str, Tensor], configs: Mapping[str, PoseConfig]
) -> tuple[str, PoseConfig]:
    """The config with an encoder of that width and depth; heads leave no trace in the tensors, the public sizes have one each."""
    table = next((state[key] for key in state if key.endswith(("pos_embed", "position_embeddings"))), None)
    depth = len({found[1] for key in state if (found := _BLOCK.match(key))})
    if table is None or table.ndim != 3 or not depth:
        raise WeightsError(f"{path}: holds no ViTPose: none of its tensors has a name of that network")
    if any(".experts." in key for key in state):
        raise WeightsError(f"{path}: a ViTPose+ with several experts", hint="posecli reads the plain ViTPose")
    if not any(key.startswith(("head.deconv", "keypoint_head.deconv_layers.")) for key in state):
        hint = "take the classic one, for example: posecli weights path vitpose-b"
        raise WeightsError(f"{path}: a ViTPose with the simple decoder, which has no deconvolutions", hint=hint)
    known = {n: c for n, c in configs.items() if isinstance(c.encoder, ViTPoseConfig)}
    width = table.shape[-1]
    for name, config in known.items():
        assert isinstance(config.encoder, ViTPoseConfig)
        if (config.encoder.embed_dim, config.encoder.depth) == (width, depth):
            return name, config
    sizes = ", ".join(f"{n} ({c.encoder.embed_dim}, {c.encoder.depth})" for n, c in known.items())  # type: ignore[union-attr]
    raise WeightsError(
        f"{path}: a ViTPose of width {width} and {depth} blocks, which no config uses", hint=f"there are: {sizes}"
    )


def _joined_qkv(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values in one tensor, as in the authors' layout."""
    joined = {}
    for key, value in state.items():
        found = re.fullmatch(r"(.+)\.attention\.attention\.(query|key|value)\.(weight|bias)", key)
        if found is None:
            joined[key] = value
            continue
        names = [f"{found[1]}.attention.attention.{part}.{found[3]}" for part in _PARTS_OF_QKV]
        if missing := [name for name in names if name not in state]:
            raise WeightsError(f"{path}: {missing[0]} is missing")
        parts = [state[name] for name in names]
        if len({part.shape for part in parts}) != 1:
            raise WeightsError(f"{path}: {found[1]}: query, key and value differ in shape")
        joined[f"{found[1]}.attn.qkv.{found[3]}"] = torch.cat(parts)
    return joined


def _renamed(key: str) -> str:
    for old, new in _RENAMED:
        if key.startswith(old):
            key = new + key.removeprefix(old)
            break
    if key.startswith("blocks."):
        for old, new in _RENAMED_BLOCK:
            key = key.replace(old, new)
    return key


def _check(path: Path, tensors: Mapping[str, Tensor], config: PoseConfig) -> None:
    encoder = config.encoder
    assert isinstance(encoder, ViTPoseConfig)
    own = shapes_of(lambda: ViTPoseEncoder(encoder, config.crop_hw))
    hint = f"its input should be {config.crop_hw[0]} x {config.crop_hw[1]} px, its decoder the classic one"
    check_tensors(path, tensors, own, of="a ViTPose encoder of this size", hint=hint)
