"""MoveNet's public graph models, written here as TensorFlow.js writes them, and a second way to compute them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from posecli.encoder import normalise_images

State = dict[str, Tensor]
CALL = "StatefulPartitionedCall/"
FPN = "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
LADDER = FPN + "model/"
Head = tuple[str, int, int, int]  # name, numbers of its two convolutions, channels
HEATMAP: Head = ("kpt_heatmap_0", 4, 5, 17)
CENTRE: Head = ("center_0", 3, 4, 1)
SCALE: Head = ("box_scale_0", 4, 5, 2)
OFFSET: Head = ("box_offset_0", 5, 6, 2)
# of MobileNetV2 at width 1 (Sandler et al. 2018, table 2): stride, expansion, channels of the seventeen blocks
BLOCKS = (
    (1, 1, 16), (2, 6, 24), (1, 6, 24), (2, 6, 32), (1, 6, 32), (1, 6, 32), (2, 6, 64), (1, 6, 64), (1, 6, 64),
    (1, 6, 64), (1, 6, 96), (1, 6, 96), (1, 6, 96), (2, 6, 160), (1, 6, 160), (1, 6, 160), (1, 6, 320),
)  # fmt: skip
LATERALS = ((9, 64, 64, 32, "_1", ""), (5, 32, 32, 24, "_2", "_1"), (2, 24, 24, 24, "_3", "_2"))


def public_state(heads: tuple[Head, ...] = (HEATMAP,)) -> State:
    """A model at width 1; kernels as TensorFlow has them: height, width, input and output channels."""
    torch.manual_seed(0)
    state: State = {"Reshape_3": torch.tensor([1.0])}

    def conv(weight: str, bias: str, kernel: int, first: int, last: int) -> None:
        state[weight] = torch.randn(kernel, kernel, first, last) * (1.5 / (kernel * kernel * first)) ** 0.5
        state[bias] = torch.randn(last) * 0.3

    def depthwise(weight: str, channels: int) -> None:
        state[weight] = torch.randn(3, 3, channels, 1) * 0.4

    conv(f"{LADDER}Conv1/Conv2D_weights", f"{LADDER}Conv1/Conv2D_bn_offset", 3, 3, 32)
    previous = 32
    for index, (_, expansion, channels) in enumerate(BLOCKS):
        name, hidden = LADDER + (f"block_{index}" if index else "expanded_conv"), previous * expansion
        if index:
            conv(f"{name}_expand/Conv2D_weights", f"{name}_expand/Conv2D_bn_offset", 1, previous, hidden)
        depthwise(f"{name}_depthwise/depthwise_weights", hidden)
        state[f"{name}_depthwise/depthwise_bn_offset"] = torch.randn(hidden) * 0.3
        conv(f"{name}_project/Conv2D_weights", f"{name}_project/Conv2D_bn_offset", 1, hidden, channels)
        previous = channels
    conv(f"{LADDER}Conv_1/Conv2D_weights", f"{LADDER}Conv_1/Conv2D_bn_offset", 1, 320, 1280)
    conv(f"{FPN}conv2d/Conv2D/ReadVariableOp", f"{FPN}conv2d/BiasAdd/ReadVariableOp", 1, 1280, 64)
    for _, width, channels, smooth, number, before in LATERALS:
        name = f"{FPN}conv2d{number}"
        conv(f"{name}/Conv2D/ReadVariableOp", f"{name}/BiasAdd/ReadVariableOp", 1, width, channels)
        name = f"{FPN}separable_conv2d{before}/separable_conv2d"
        depthwise(f"{name}/ReadVariableOp", channels)
        conv(f"{name}_weights", f"{name}_bn_offset", 1, channels, smooth)
    for title, number_of_hidden, number_of_last, count in heads:
        filtered, last = f"{title}/separable_conv2d_{number_of_hidden}", f"{title}/conv2d_{number_of_last}"
        depthwise(f"{filtered}/separable_conv2d/ReadVariableOp", 24)
        conv(f"{filtered}/separable_conv2d/ReadVariableOp_1", f"{filtered}/BiasAdd/ReadVariableOp", 1, 24, 96)
        conv(f"{last}/Conv2D/ReadVariableOp", f"{last}/BiasAdd/ReadVariableOp", 1, 96, count)
    return state


def write_graph_model(path: Path, state: State, *, dtype: str = "float32") -> Path:
    """In two binary files, the first of which ends within a tensor."""
    weights, content = [], b""
    for name, value in state.items():
        entry: dict[str, object] = {"name": CALL + name, "shape": list(value.shape), "dtype": "float32"}
        if dtype == "float16":
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        weights.append(entry)
        content += value.numpy().astype(dtype).tobytes()
    names = ["shard1.bin", "shard2.bin"]
    for name, part in zip(names, (content[:1001], content[1001:]), strict=True):
        (path.parent / name).write_bytes(part)
    path.write_text(json.dumps({"format": "graph-model", "weightsManifest": [{"paths": names, "weights": weights}]}))
    return path


def head_by_hand(state: State, images: Tensor, head: Head, *, is_hidden: bool = False) -> Tensor:
    """(B, 3, H, W) uint8 -> what a head says, or its hidden layer: as TensorFlow does it, padding at the right and below."""

    def conv(x: Tensor, weight: str, bias: str | None, *, stride: int = 1, is_depthwise: bool = False) -> Tensor:
        kernel = state[weight]
        kernel = kernel.permute(2, 3, 0, 1) if is_depthwise else kernel.permute(3, 2, 0, 1)
        if kernel.shape[-1] == 3:
            x = functional.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
        offset = None if bias is None else state[bias]
        return functional.conv2d(x, kernel, offset, stride, groups=len(kernel) if is_depthwise else 1)

    def separable(x: Tensor, depthwise: str, pointwise: str, bias: str) -> Tensor:
        return functional.relu(conv(conv(x, depthwise, None, is_depthwise=True), pointwise, bias))

    # the border that we add to a picture has our mean colour, theirs is grey: here ours, so that nothing else may differ
    x = functional.pad(normalise_images(images), (0, 1, 0, 1))
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    x = 2.0 * (x * std + mean) - 1.0
    kernel = state[f"{LADDER}Conv1/Conv2D_weights"].permute(3, 2, 0, 1)
    x = functional.relu6(functional.conv2d(x, kernel, state[f"{LADDER}Conv1/Conv2D_bn_offset"], 2))
    maps = []
    for index, (stride, _, _) in enumerate(BLOCKS):
        name, y = LADDER + (f"block_{index}" if index else "expanded_conv"), x
        if index:
            y = functional.relu6(conv(y, f"{name}_expand/Conv2D_weights", f"{name}_expand/Conv2D_bn_offset"))
        names = f"{name}_depthwise/depthwise_weights", f"{name}_depthwise/depthwise_bn_offset"
        y = functional.relu6(conv(y, *names, stride=stride, is_depthwise=True))
        y = conv(y, f"{name}_project/Conv2D_weights", f"{name}_project/Conv2D_bn_offset")
        x = x + y if x.shape == y.shape else y
        maps.append(x)
    x = functional.relu6(conv(x, f"{LADDER}Conv_1/Conv2D_weights", f"{LADDER}Conv_1/Conv2D_bn_offset"))
    y = conv(x, f"{FPN}conv2d/Conv2D/ReadVariableOp", f"{FPN}conv2d/BiasAdd/ReadVariableOp")
    for block, _, _, _, number, before in LATERALS:
        name = f"{FPN}conv2d{number}"
        side = conv(maps[block], f"{name}/Conv2D/ReadVariableOp", f"{name}/BiasAdd/ReadVariableOp")
        y = functional.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False) + side
        name = f"{FPN}separable_conv2d{before}/separable_conv2d"
        y = separable(y, f"{name}/ReadVariableOp", f"{name}_weights", f"{name}_bn_offset")
    title, number_of_hidden, number_of_last, _ = head
    hidden, last = f"{title}/separable_conv2d_{number_of_hidden}", f"{title}/conv2d_{number_of_last}"
    kernel_name = f"{hidden}/separable_conv2d/ReadVariableOp"
    y = separable(y, kernel_name, f"{kernel_name}_1", f"{hidden}/BiasAdd/ReadVariableOp")
    return y if is_hidden else conv(y, f"{last}/Conv2D/ReadVariableOp", f"{last}/BiasAdd/ReadVariableOp")
