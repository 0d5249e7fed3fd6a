"""The public checkpoint of EfficientNet-Lite0, written here as its makers' code names it, and a second way to compute it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from posecli.cli.app import app
from posecli.errors import OutputError, WeightsError
from posecli.mobile_encoder import MobileEncoder, MobileEncoderConfig
from posecli.pose.config import PoseConfig
from posecli.pose.efficientnet_checkpoint import import_efficientnet_lite
from posecli.pose.network import PoseNetwork
from posecli.training.models import NetworkTraining, carry_over
from posecli.weights import load_weights

State = dict[str, Tensor]
# repeats, kernel, stride, expansion, input and output channels (Tan & Le 2019, table 1)
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
LEVEL_ENDS = (2, 4, 10, 15)  # the last blocks at 1/4, 1/8, 1/16, 1/32


def blocks() -> list[tuple[int, int, int, int, int]]:
    """Kernel, stride, expansion, input and output channels of the sixteen blocks."""
    return [
        (kernel, stride if i == 0 else 1, expansion, first if i == 0 else last, last)
        for repeats, kernel, stride, expansion, first, last in STAGES
        for i in range(repeats)
    ]


def public_state() -> State:
    torch.manual_seed(0)
    state: State = {"_conv_stem.weight": torch.randn(32, 3, 3, 3) * 0.2}

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels) + 0.5
        state[f"{name}.bias"] = torch.randn(channels) * 0.3
        state[f"{name}.running_mean"] = torch.randn(channels) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(5)

    norm("_bn0", 32)
    for index, (kernel, _, expansion, first, last) in enumerate(blocks()):
        name, hidden = f"_blocks.{index}", first * expansion
        if expansion != 1:
            state[f"{name}._expand_conv.weight"] = torch.randn(hidden, first, 1, 1) / first**0.5
            norm(f"{name}._bn0", hidden)
        state[f"{name}._depthwise_conv.weight"] = torch.randn(hidden, 1, kernel, kernel) / kernel
        norm(f"{name}._bn1", hidden)
        state[f"{name}._project_conv.weight"] = torch.randn(last, hidden, 1, 1) / hidden**0.5
        norm(f"{name}._bn2", last)
    state["_conv_head.weight"] = torch.zeros(1280, 320, 1, 1)
    norm("_bn1", 1280)
    state |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    return state


def levels_by_hand(state: State, images: Tensor) -> list[Tensor]:
    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return functional.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    found = []
    x = functional.relu6(norm(functional.conv2d(images, state["_conv_stem.weight"], stride=2, padding=1), "_bn0"))
    for index, (kernel, stride, expansion, _, _) in enumerate(blocks()):
        name, y = f"_blocks.{index}", x
        if expansion != 1:
            y = functional.relu6(norm(functional.conv2d(y, state[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
        weight = state[f"{name}._depthwise_conv.weight"]
        y = functional.conv2d(y, weight, stride=stride, padding=kernel // 2, groups=len(weight))
        y = functional.relu6(norm(y, f"{name}._bn1"))
        y = norm(functional.conv2d(y, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
        x = x + y if x.shape == y.shape else y
        if index in LEVEL_ENDS:
            found.append(x)
    return found


def test_the_imported_ladder_computes_what_the_public_one_does(tmp_path: Path) -> None:
    state = public_state()
    torch.save(state, tmp_path / "lite0.pth")
    import_efficientnet_lite(tmp_path / "lite0.pth", tmp_path / "out.safetensors")
    encoder = MobileEncoder(MobileEncoderConfig()).eval()
    tensors = load_weights(tmp_path / "out.safetensors").tensors
    left = encoder.load_state_dict({k.removeprefix("encoder."): v for k, v in tensors.items()}, strict=False)
    assert left.unexpected_keys == []
    assert {name.split(".")[0] for name in left.missing_keys} == {"lateral", "smooth"}
    x, maps = torch.randn(2, 3, 64, 96), []
    with torch.no_grad():
        y = encoder.stem(x)
        for level in encoder.levels:
            y = level(y)
            maps.append(y)
        expected = levels_by_hand(state, x)
    for ours, theirs in zip(maps, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_training_starts_from_it(tmp_path: Path) -> None:
    torch.save(public_state(), tmp_path / "lite0.pth")
    written = import_efficientnet_lite(tmp_path / "lite0.pth", tmp_path / "out.safetensors")
    config = PoseConfig(MobileEncoderConfig(), (64, 64), 2, 32, 1, 1, d_state=4, dt_rank=4, window_hw=(8, 8))
    model = NetworkTraining(config)
    carry_over(load_weights(tmp_path / "out.safetensors").tensors, model)
    own = model.network.state_dict()
    assert all(torch.equal(own[name], value) for name, value in written.items())
    assert PoseConfig.from_json(config.to_json()) == config
    assert isinstance(PoseNetwork(config).encoder, MobileEncoder)


def test_the_command_says_what_it_read(tmp_path: Path) -> None:
    torch.save(public_state(), tmp_path / "lite0.pth")
    out = tmp_path / "out.safetensors"
    done = CliRunner().invoke(
        app, ["weights", "import", "efficientnet-lite", str(tmp_path / "lite0.pth"), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "EfficientNet-Lite0" in done.stderr and "Apache-2.0" in done.stderr
    with pytest.raises(OutputError, match="exists"):
        import_efficientnet_lite(tmp_path / "lite0.pth", out)


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_other_files_are_refused_with_what_differs(tmp_path: Path) -> None:
    path, out = tmp_path / "x.pth", tmp_path / "out.safetensors"
    state = public_state()
    cases: list[tuple[object, str]] = [
        ({k: v for k, v in state.items() if k != "_conv_stem.weight"}, "missing.*stem.conv.weight"),
        (state | {"_blocks.16._expand_conv.weight": torch.zeros(1)}, "belongs to no EfficientNet-Lite0"),
        (state | {"_blocks.3._bn2.bias": torch.zeros(41)}, "wrong shape"),
        (state | {"_blocks.3._bn2.bias": torch.full_like(state["_blocks.3._bn2.bias"], torch.nan)}, "not finite"),
        (state | {"_other": torch.zeros(1)}, "unexpected"),
        ({"a": _Code()}, "holds code"),
        (nn.ParameterList([]).state_dict(), "no state dict"),
    ]
    for content, message in cases:
        torch.save(content, path)
        with pytest.raises(WeightsError, match=rf"(?s){message}"):
            import_efficientnet_lite(path, out)
        assert not out.exists()
