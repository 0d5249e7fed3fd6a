"""MoveNet's public graph model, written here as TensorFlow.js writes it, and a second way to compute it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from posecli.cli.app import app
from posecli.encoder import normalise_images
from posecli.errors import OutputError, WeightsError
from posecli.mobile_encoder import MobileEncoder, MobileEncoderConfig
from posecli.pose.config import PoseConfig
from posecli.pose.movenet_checkpoint import import_movenet, read_graph_model
from posecli.training.models import NetworkTraining, carry_over
from posecli.weights import load_weights

State = dict[str, Tensor]
CALL = "StatefulPartitionedCall/"
FPN = "center_net_mobile_net_v2fpn_feature_extractor/model_1/"
LADDER = FPN + "model/"
HIDDEN = "kpt_heatmap_0/separable_conv2d_4/"
# of MobileNetV2 at width 1 (Sandler et al. 2018, table 2): stride, expansion, channels of the seventeen blocks
BLOCKS = (
    (1, 1, 16), (2, 6, 24), (1, 6, 24), (2, 6, 32), (1, 6, 32), (1, 6, 32), (2, 6, 64), (1, 6, 64), (1, 6, 64),
    (1, 6, 64), (1, 6, 96), (1, 6, 96), (1, 6, 96), (2, 6, 160), (1, 6, 160), (1, 6, 160), (1, 6, 320),
)  # fmt: skip
LATERALS = ((9, 64, 64, 32, "_1", ""), (5, 32, 32, 24, "_2", "_1"), (2, 24, 24, 24, "_3", "_2"))


def public_state() -> State:
    """Kernels as TensorFlow has them: height, width, input and output channels."""
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
    depthwise(f"{HIDDEN}separable_conv2d/ReadVariableOp", 24)
    conv(f"{HIDDEN}separable_conv2d/ReadVariableOp_1", f"{HIDDEN}BiasAdd/ReadVariableOp", 1, 24, 96)
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


def hidden_layer_by_hand(state: State, images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8: everything as TensorFlow does it, padding at the right and below where a side is halved."""

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
    name = f"{HIDDEN}separable_conv2d/ReadVariableOp"
    return separable(y, name, f"{name}_1", f"{HIDDEN}BiasAdd/ReadVariableOp")


def test_the_imported_encoder_computes_what_the_public_one_does(tmp_path: Path) -> None:
    state = public_state()
    import_movenet(write_graph_model(tmp_path / "model.json", state), tmp_path / "out.safetensors")
    loaded = load_weights(tmp_path / "out.safetensors")
    encoder = MobileEncoder(MobileEncoderConfig(width=loaded.config["encoder"]["width"])).eval()
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in loaded.tensors.items()})
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = encoder(normalise_images(images)), hidden_layer_by_hand(state, images)
    assert ours.shape == (2, 96, 16, 24)
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_training_starts_from_it(tmp_path: Path) -> None:
    graph = write_graph_model(tmp_path / "model.json", public_state())
    written = import_movenet(graph, tmp_path / "out.safetensors")
    config = PoseConfig(MobileEncoderConfig(), (64, 64), 2, 32, 1, 1, d_state=4, dt_rank=4, window_hw=(8, 8))
    model = NetworkTraining(config)
    carry_over(load_weights(tmp_path / "out.safetensors").tensors, model)
    own = model.network.state_dict()
    assert all(torch.equal(own[name], value) for name, value in written.items())


def test_half_precision_is_read_as_written(tmp_path: Path) -> None:
    state = public_state()
    found = read_graph_model(write_graph_model(tmp_path / "model.json", state, dtype="float16"))
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(found[name], torch.from_numpy(value.numpy().astype(np.float16).astype(np.float32)))


def spoilt(folder: Path) -> Iterator[tuple[str, Path]]:
    """What is said, and the file it is said of."""
    state = public_state()

    def fresh(name: str, content: State) -> Path:
        (folder / name).mkdir()
        return write_graph_model(folder / name / "model.json", content)

    (folder / "none.json").write_text('{"weightsManifest": 3}')
    yield "lists no tensors", folder / "none.json"
    path = fresh("missing", {name: value for name, value in state.items() if "block_5_expand" not in name})
    yield "levels.1.2.expand.conv.weight", path
    yield "wrong shape", fresh("wide", state | {f"{LADDER}Conv_1/Conv2D_bn_offset": torch.zeros(7)})
    yield "not finite", fresh("broken", state | {f"{LADDER}Conv1/Conv2D_bn_offset": torch.full((32,), torch.nan)})
    path = fresh("short", state)
    (path.parent / "shard2.bin").write_bytes(b"\0" * 8)
    yield "hold 1009 bytes, not the", path
    path = fresh("alone", state)
    (path.parent / "shard2.bin").unlink()
    yield "shard2.bin: cannot be read", path
    path = fresh("outside", state)
    path.write_text(path.read_text().replace("shard2.bin", "../shard2.bin"))
    yield "outside its folder", path
    path = fresh("odd", state)
    path.write_text(path.read_text().replace('"float32"', '"complex64"'))
    yield "lists no tensors", path


def test_what_is_no_movenet_is_refused_in_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    for words, path in spoilt(tmp_path):
        with pytest.raises(WeightsError, match=words):
            import_movenet(path, out)
        assert not out.exists()
    with pytest.raises(WeightsError, match="cannot be read"):
        import_movenet(tmp_path / "absent.json", out)


def test_the_command_keeps_what_is_there(tmp_path: Path) -> None:
    graph = write_graph_model(tmp_path / "model.json", public_state())
    out = tmp_path / "out.safetensors"
    arguments = ["weights", "import", "movenet", str(graph), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "Apache-2.0" in result.stderr
    before = out.read_bytes()
    with pytest.raises(OutputError):
        import_movenet(graph, out)
    assert out.read_bytes() == before
