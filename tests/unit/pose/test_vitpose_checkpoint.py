"""Public ViTPose checkpoints in both layouts, written here exactly as their makers' code names them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from posecli.cli.app import app
from posecli.errors import OutputError, WeightsError
from posecli.pose.config import POSE_CONFIGS, PoseConfig, ViTPoseConfig
from posecli.pose.network import PoseNetwork
from posecli.pose.vitpose import ViTPoseEncoder
from posecli.pose.vitpose_checkpoint import convert_vitpose, import_vitpose
from posecli.training.models import NetworkTraining, carry_over
from posecli.weights import load_weights

State = dict[str, Tensor]
ENCODER = ViTPoseConfig(embed_dim=32, depth=2, num_heads=2, out_channels=16)
TINY = PoseConfig(
    encoder=ENCODER,
    crop_hw=(64, 32),
    d_model=16,
    num_global_blocks=1,
    num_local_blocks=1,
    d_state=4,
    dt_rank=4,
    window_hw=(8, 8),
    is_encoder_frozen=True,
)
CONFIGS = {"glsmamba-tiny": TINY}


def hugging_face(
    width: int, depth: int, channels: int = 256, patches: int = 192, make: Callable[..., Tensor] = torch.randn
) -> State:
    """Names and shapes of ``VitPoseForPoseEstimation`` with the classic decoder (transformers 4.48 and later)."""
    state = {
        "backbone.embeddings.position_embeddings": make(1, patches + 1, width),
        "backbone.embeddings.patch_embeddings.projection.weight": make(width, 3, 16, 16),
        "backbone.embeddings.patch_embeddings.projection.bias": make(width),
        "backbone.layernorm.weight": make(width),
        "backbone.layernorm.bias": make(width),
        "head.deconv1.weight": make(width, channels, 4, 4),
        "head.deconv2.weight": make(channels, channels, 4, 4),
        "head.conv.weight": make(17, channels, 1, 1),
        "head.conv.bias": make(17),
    }
    for number in (1, 2):
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"head.batchnorm{number}.{name}"] = make(channels)
        state[f"head.batchnorm{number}.num_batches_tracked"] = torch.tensor(7)
    for index in range(depth):
        block = f"backbone.encoder.layer.{index}."
        for part in ("query", "key", "value"):
            state[f"{block}attention.attention.{part}.weight"] = make(width, width)
            state[f"{block}attention.attention.{part}.bias"] = make(width)
        state[f"{block}attention.output.dense.weight"] = make(width, width)
        state[f"{block}attention.output.dense.bias"] = make(width)
        for name, (rows, columns) in {"fc1": (4 * width, width), "fc2": (width, 4 * width)}.items():
            state[f"{block}mlp.{name}.weight"] = make(rows, columns)
            state[f"{block}mlp.{name}.bias"] = make(rows)
        for name in ("layernorm_before", "layernorm_after"):
            state[f"{block}{name}.weight"] = make(width)
            state[f"{block}{name}.bias"] = make(width)
    return state


def authors(encoder: ViTPoseEncoder) -> State:
    """Names of the authors' checkpoints, with a class token and a second head as their multi-task files carry."""
    state = {"backbone.cls_token": torch.zeros(1, 1, 32), "associate_keypoint_heads.0.final_layer.bias": torch.zeros(3)}
    for name, value in encoder.state_dict().items():
        if name.startswith("deconv_layers"):
            state[f"keypoint_head.{name}"] = value
        else:
            state["backbone." + name.replace("patch_embed.", "patch_embed.proj.")] = value
    return state | {"keypoint_head.final_layer.weight": torch.zeros(17, 16, 1, 1)}


@pytest.fixture
def public() -> State:
    torch.manual_seed(0)
    state = hugging_face(32, 2, channels=16, patches=8)
    for number in (1, 2):
        state[f"head.batchnorm{number}.running_var"].abs_()
    return state


def reference(state: State, images: Tensor) -> Tensor:
    """The forward pass of transformers' code, written with its names and one attention head after the other."""
    from torch.nn import functional as f

    def linear(name: str, x: Tensor) -> Tensor:
        return f.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return f.layer_norm(x, (32,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    patches = "backbone.embeddings.patch_embeddings.projection"
    x = f.conv2d(images, state[f"{patches}.weight"], state[f"{patches}.bias"], stride=16, padding=2)
    height, width = x.shape[2:]
    table = state["backbone.embeddings.position_embeddings"]
    x = x.flatten(2).transpose(1, 2) + table[:, 1:] + table[:, :1]
    for index in range(2):
        block = f"backbone.encoder.layer.{index}."
        y = norm(f"{block}layernorm_before", x)
        query, key, value = (
            linear(f"{block}attention.attention.{p}", y).unflatten(-1, (2, 16)) for p in ("query", "key", "value")
        )
        heads = []
        for head in range(2):
            scores = query[:, :, head] @ key[:, :, head].transpose(1, 2) / 4.0
            heads.append(scores.softmax(-1) @ value[:, :, head])
        x = x + linear(f"{block}attention.output.dense", torch.cat(heads, -1))
        y = norm(f"{block}layernorm_after", x)
        x = x + linear(f"{block}mlp.fc2", f.gelu(linear(f"{block}mlp.fc1", y)))
    x = norm("backbone.layernorm", x).transpose(1, 2).unflatten(2, (height, width))
    for number in (1, 2):
        x = f.conv_transpose2d(x, state[f"head.deconv{number}.weight"], stride=2, padding=1)
        batch = f"head.batchnorm{number}."
        mean, variance, weight, bias = (state[batch + k] for k in ("running_mean", "running_var", "weight", "bias"))
        x = f.batch_norm(x, mean, variance, weight, bias)
        x = f.relu(x)
    return x


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_the_hugging_face_layout_becomes_the_encoder_of_the_config(tmp_path: Path, public: State, suffix: str) -> None:
    path, out = tmp_path / f"model{suffix}", tmp_path / "out.safetensors"
    save_file(public, path) if suffix == ".safetensors" else torch.save(public, path)
    name, tensors = import_vitpose(path, out, configs=CONFIGS)
    assert name == "glsmamba-tiny"
    loaded = load_weights(out)
    assert loaded.kind == "encoder"
    assert loaded.config == {
        "encoder": {
            "kind": "vitpose",
            "embed_dim": 32,
            "depth": 2,
            "num_heads": 2,
            "out_channels": 16,
            "patch_size": 16,
        },
        "crop_hw": [64, 32],
    }
    assert loaded.metadata["config_name"] == "glsmamba-tiny"
    assert loaded.tensors.keys() == tensors.keys()

    encoder = ViTPoseEncoder(ENCODER, (64, 32)).eval()
    encoder.load_state_dict({key.removeprefix("encoder."): value for key, value in loaded.tensors.items()})
    images = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        expected = reference(public, images)
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert int(encoder.state_dict()["deconv_layers.1.num_batches_tracked"]) == 7


def test_training_of_the_config_starts_from_the_file(tmp_path: Path, public: State) -> None:
    save_file(public, tmp_path / "model.safetensors")
    import_vitpose(tmp_path / "model.safetensors", tmp_path / "out.safetensors", configs=CONFIGS)
    tensors = load_weights(tmp_path / "out.safetensors").tensors
    model = NetworkTraining(TINY)
    carry_over(tensors, model)
    own = model.state_dict()
    for name, value in tensors.items():
        assert torch.equal(own[f"network.{name}"], value), name


@pytest.mark.parametrize("is_nested", [True, False])
def test_the_authors_layout_gives_the_same_encoder(tmp_path: Path, is_nested: bool) -> None:
    torch.manual_seed(0)
    encoder = ViTPoseEncoder(ENCODER, (64, 32))
    state = authors(encoder)
    torch.save({"meta": {"epoch": 210}, "state_dict": state} if is_nested else state, tmp_path / "vitpose.pth")
    _, tensors = import_vitpose(tmp_path / "vitpose.pth", tmp_path / "out.safetensors", configs=CONFIGS)
    assert {f"encoder.{name}" for name in encoder.state_dict()} == set(tensors)
    for name, value in encoder.state_dict().items():
        assert torch.equal(tensors[f"encoder.{name}"], value)


@pytest.mark.parametrize(("config", "width", "depth"), [("glsmamba-b", 768, 12), ("glsmamba-h", 1280, 32)])
def test_names_and_shapes_of_the_real_sizes_fit(config: str, width: int, depth: int) -> None:
    with torch.device("meta"):
        state = hugging_face(width, depth, make=torch.empty)
        own = PoseNetwork(POSE_CONFIGS[config]).state_dict()
    converted = convert_vitpose(Path("x"), state, POSE_CONFIGS[config])
    expected = {name: value.shape for name, value in own.items() if name.startswith("encoder.")}
    assert {f"encoder.{name}": value.shape for name, value in converted.items()} == expected


def without(pattern: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not re.search(pattern, name)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(r"layer\.1\.mlp\.fc1\.bias"), r"missing \(1\): blocks.1.mlp.fc1.bias"),
        (without(r"layer\.1\.attention\.attention\.key\.bias"), "layer.1.attention.attention.key.bias is missing"),
        (lambda s: s | {"backbone.extra": torch.zeros(1)}, r"unexpected \(1\): backbone.extra"),
        (
            lambda s: s | {"head.deconv2.weight": torch.zeros(16, 8, 4, 4)},
            r"deconv_layers.3.weight is \(16, 8, 4, 4\), not",
        ),
        (
            lambda s: s | {"backbone.embeddings.position_embeddings": torch.zeros(1, 10, 32)},
            r"wrong shape \(1\): pos_embed",
        ),
        (
            lambda s: s | {"backbone.layernorm.bias": torch.full((32,), torch.nan)},
            r"not finite \(1\): last_norm.bias",
        ),
        (
            lambda s: s | {"backbone.encoder.layer.0.attention.attention.key.weight": torch.zeros(32, 31)},
            "layer.0: query, key and value differ in shape",
        ),
        (
            lambda s: s | {"backbone.encoder.layer.0.mlp.experts.0.weight": torch.zeros(1)},
            r"a ViTPose\+ with several experts",
        ),
        (without(r"head\.(deconv|batchnorm)"), "simple decoder, which has no deconvolutions"),
        (without(r"encoder\.layer\.1\."), "width 32 and 1 blocks, which no config uses"),
        (lambda s: {"x": torch.zeros(1)}, "holds no ViTPose: none of its tensors"),
        (lambda s: s | {"backbone.pos_embed": torch.zeros(1, 9, 32)}, "holds pos_embed twice"),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, public: State, change: Callable[[State], State], message: str
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(change(public), path)
    with pytest.raises(WeightsError, match=message) as caught:
        import_vitpose(path, tmp_path / "out.safetensors", configs=CONFIGS)
    assert str(path) in caught.value.message
    assert not (tmp_path / "out.safetensors").exists()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_code_damage_and_other_things_are_refused(
    tmp_path: Path, public: State, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "model.bin", tmp_path / "out.safetensors"
    for content, message in (
        ({"state_dict": Evil()}, "holds code .*print.*, refused"),
        ([1, 2], "one value of type list"),
        ({"state_dict": {}}, "holds no state dict"),
        ({"a": 3}, "entry 'a' of the state dict is of type int"),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=message):
            import_vitpose(path, out, configs=CONFIGS)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match="not a PyTorch checkpoint, or a damaged one"):
        import_vitpose(path, out, configs=CONFIGS)
    save_file(public, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"cut\.safetensors: damaged or cut short"):
        import_vitpose(tmp_path / "cut.safetensors", out, configs=CONFIGS)
    with pytest.raises(WeightsError, match="no such checkpoint file"):
        import_vitpose(tmp_path / "none.bin", out, configs=CONFIGS)
    out.touch()
    with pytest.raises(OutputError, match="exists already"):
        import_vitpose(path, out, configs=CONFIGS)
    assert capsys.readouterr().out == ""


def test_the_command_names_the_sizes_there_are(tmp_path: Path, public: State) -> None:
    save_file(public, tmp_path / "model.safetensors")
    arguments = [
        "weights",
        "import",
        "vitpose",
        str(tmp_path / "model.safetensors"),
        "--out",
        str(tmp_path / "out.safetensors"),
    ]
    result = CliRunner().invoke(app, arguments, prog_name="posecli")
    assert result.exit_code == 4
    assert result.stderr.endswith("hint: there are: glsmamba-b (768, 12), glsmamba-h (1280, 32)\n")
