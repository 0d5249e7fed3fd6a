"""MoveNet's public weights: encoders, and a detector, that have seen the people of COCO, for training to start from.

MoveNet (Lightning and Thunder for one pose, MultiPose for several) is published by Google as TensorFlow.js graph models under
Apache-2.0: a JSON file that lists the tensors, and beside it the binary files that hold them one after another. Only the tensors are
read; the graph is not run. They share one extractor in three widths (`posecli.mobile_encoder`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from posecli.encoder import IMAGE_MEAN, IMAGE_STD
from posecli.errors import WeightsError
from posecli.mobile_encoder import MobileEncoderConfig

LICENCE_NOTE = "MoveNet's weights are Apache-2.0 (Google); they were trained on COCO and on a set of Google's own."
MOVENET = "MoveNet"
_WIDTHS = {32: 1.0, 48: 1.5, 56: 1.75}  # by the channels of the first convolution: Lightning, MultiPose, Thunder
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int32": np.dtype("<i4"),
}
_MAX_BYTES = 2**28

_CALL = "StatefulPartitionedCall/"
_EXTRACTOR = "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
_LADDER = _EXTRACTOR + "model/"
_FOLDED = {"weight": "weights", "bias": "bn_offset"}  # where a batch norm was folded in
_READ = "ReadVariableOp"


def read_graph_model(path: Path) -> dict[str, Tensor]:
    """The tensors of a TensorFlow.js graph model, without the name of the call that all of them share.

    Raises:
        WeightsError: There is no such file, or it is damaged.
    """
    try:
        groups = orjson.loads(path.read_bytes())["weightsManifest"]
        listed = [(group["paths"], [_described(weight) for weight in group["weights"]]) for group in groups]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "give the .json file of the model, its .bin files beside it"
        raise WeightsError(f"{path}: lists no tensors as a TensorFlow.js graph model does", hint=hint) from error
    tensors: dict[str, Tensor] = {}
    for names, weights in listed:
        content = b"".join(_binary(path, str(name)) for name in names)
        expected = sum(dtype.itemsize * math.prod(shape) for _, dtype, shape in weights)
        if len(content) != expected:
            raise WeightsError(f"{path}: its binary files hold {len(content)} bytes, not the {expected} it lists")
        start = 0
        for name, dtype, shape in weights:
            values = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
            tensors[name] = torch.from_numpy(values.astype(np.float32))
            start += values.nbytes
    return tensors


def _described(weight: Mapping[str, Any]) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    """Name, type in the file, shape."""
    stored = weight.get("quantization", {}).get("dtype", weight["dtype"])
    shape = tuple(int(side) for side in weight["shape"])
    if min(shape, default=0) < 0 or math.prod(shape) > _MAX_BYTES:
        raise ValueError(f"shape {shape}")
    return str(weight["name"]).removeprefix(_CALL), _DTYPES[stored], shape


def _binary(path: Path, name: str) -> bytes:
    file = path.parent / name
    if Path(name).name != name:
        raise WeightsError(f"{path}: names a file outside its folder: {name}")
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise WeightsError(f"{file}: over {_MAX_BYTES} bytes, no {MOVENET}")
        return file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read, and {path.name} needs it: {error.strerror}") from error


def config_of(public: Mapping[str, Tensor]) -> MobileEncoderConfig:
    """The extractor's size; of a file that is no MoveNet some size, which its tensors will not fit."""
    stem = public.get(f"{_LADDER}Conv1/Conv2D_weights")
    return MobileEncoderConfig(width=_WIDTHS.get(0 if stem is None else stem.shape[-1], 1.0))


def pyramid_tensors(public: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of `posecli.mobile_encoder.MobilePyramid`: those of ``names`` that the file has.

    Kernels are turned by 180 degrees, as the ladder's pictures are, and the first convolution takes pictures as normalised here.
    """
    tensors = {}
    for name in names:
        module, _, kind = name.rpartition(".")
        source = _source(module, kind)
        if source in public:
            tensors[name] = (
                _as_kernel(public[source], module).flip(2, 3) if public[source].ndim == 4 else public[source]
            )
    _normalise_as_here(tensors)
    return tensors


def separable_tensors(public: Mapping[str, Tensor], source: str, module: str) -> dict[str, Tensor]:
    """The tensors of a `posecli.mobile_encoder.SeparableConv` on the pyramid, kernels not turned.

    Args:
        public: The file's.
        source: What MoveNet calls it, for example ``center_0/separable_conv2d_3``.
        module: What we do.
    """
    sources = {
        f"{module}.depthwise.weight": f"{source}/separable_conv2d/{_READ}",
        f"{module}.pointwise.conv.weight": f"{source}/separable_conv2d/{_READ}_1",
        f"{module}.pointwise.conv.bias": f"{source}/BiasAdd/{_READ}",
    }
    return {name: _as_kernel(public[found], name) for name, found in sources.items() if found in public}


def pointwise_tensors(public: Mapping[str, Tensor], source: str, module: str) -> dict[str, Tensor]:
    """The tensors of a 1x1 convolution; arguments as those of `separable_tensors`."""
    sources = {f"{module}.weight": f"{source}/Conv2D/{_READ}", f"{module}.bias": f"{source}/BiasAdd/{_READ}"}
    return {name: _as_kernel(public[found], name) for name, found in sources.items() if found in public}


def _as_kernel(value: Tensor, module: str) -> Tensor:
    """A kernel (H, W, in, out), or (H, W, in, 1) where depthwise, in torch's order of axes; other tensors as they are."""
    if value.ndim != 4:
        return value
    return (value.permute(2, 3, 0, 1) if "depthwise" in module else value.permute(3, 2, 0, 1)).contiguous()


def _source(module: str, kind: str) -> str:
    """What MoveNet calls a tensor of a module of ours."""
    place, *rest = module.split(".")
    if place == "levels":
        return _in_ladder(int(rest[0]), int(rest[1]), rest[2], kind)
    if place == "stem":
        return f"{_LADDER}Conv1/Conv2D_{_FOLDED[kind]}"
    if place == "smooth":
        # theirs are numbered from 1/16 up, and the first has no number
        number = ("_2", "_1", "")[int(rest[0])]
        if rest[1] == "depthwise":
            return f"{_EXTRACTOR}separable_conv2d{number}/separable_conv2d/{_READ}"
        return f"{_EXTRACTOR}separable_conv2d{number}/separable_conv2d_{_FOLDED[kind]}"
    number = "" if place == "top" else f"_{3 - int(rest[0])}"
    return f"{_EXTRACTOR}conv2d{number}/{'Conv2D' if kind == 'weight' else 'BiasAdd'}/{_READ}"


def _in_ladder(level: int, index: int, part: str, kind: str) -> str:
    blocks_before = (0, 3, 6, 10)[level]
    number = blocks_before + index
    if part == "conv":  # the last convolution of the last level
        block, operation = "Conv_1", "Conv2D"
    else:
        block = ("expanded_conv" if number == 0 else f"block_{number}") + f"_{part}"
        operation = "depthwise" if part == "depthwise" else "Conv2D"
    return f"{_LADDER}{block}/{operation}_{_FOLDED[kind]}"


def _normalise_as_here(tensors: dict[str, Tensor]) -> None:
    """Let the first convolution take pictures as normalised here, not as -1 to 1."""
    if not {"stem.conv.weight", "stem.conv.bias"} <= tensors.keys():
        return
    weight = tensors["stem.conv.weight"]
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    tensors["stem.conv.bias"] = tensors["stem.conv.bias"] + (weight * (2.0 * mean - 1.0)).sum((1, 2, 3))
    tensors["stem.conv.weight"] = weight * (2.0 * std)
