"""The authors' checkpoints: read, checked, and giving the same 3D and the same gradients as a second implementation of the paper."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from posecli.errors import OutputError, WeightsError
from posecli.lifting.checkpoint import load_lifter_network
from posecli.lifting.config import LIFT_CONFIGS, LiftConfig
from posecli.lifting.network import PoseMamba
from posecli.lifting.official import LICENCE_NOTE, import_posemamba, read_posemamba

WIDTH, DEPTH = 16, 2


def load_straightforward() -> ModuleType:
    # By path: test folders are no packages.
    path = Path(__file__).with_name("straightforward_posemamba.py")
    spec = importlib.util.spec_from_file_location("straightforward_posemamba", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


straightforward = load_straightforward()


def write_official(path: Path, tensors: dict[str, Tensor], *, prefix: str = "module.", **facts: Any) -> Path:
    """As the authors' training writes it: data-parallel names, the optimizer's state besides."""
    state = {prefix + name: value for name, value in tensors.items()}
    moments = {i: {"step": torch.tensor(7.0), "exp_avg": torch.zeros_like(v)} for i, v in enumerate(tensors.values())}
    group = {"lr": 2e-4, "betas": (0.9, 0.999), "weight_decay": 0.01, "params": list(range(len(tensors)))}
    content = {
        "epoch": 90,
        "lr": 8.1e-5,
        "optimizer": {"state": moments, "param_groups": [group]},
        "model_pos": state,
        "min_loss": 41.8,
    }
    torch.save(content | facts, path)
    return path


@pytest.fixture
def official(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint, its tensors changed by a function if one is given."""

    def build(change: Callable[[dict[str, Tensor]], object] | None = None, **options: Any) -> Path:
        tensors = straightforward.random_tensors(WIDTH, DEPTH)
        if change is not None:
            change(tensors)
        return write_official(tmp_path / "best_epoch.bin", tensors, **options)

    return build


def keypoints(frames: int, *, seed: int = 1) -> Tensor:
    return torch.randn(2, frames, 17, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("width", "depth", "max_frames", "lengths"),
    [(16, 2, 243, (1, 2, 9)), (24, 1, 243, (4,)), (40, 3, 9, (1, 5, 9))],
    ids=["as the authors'", "one pair", "three pairs, short clips"],
)
def test_imported_network_equals_the_straightforward_one(
    tmp_path: Path, width: int, depth: int, max_frames: int, lengths: tuple[int, ...]
) -> None:
    tensors = straightforward.random_tensors(width, depth, max_frames)
    out = tmp_path / "out.safetensors"
    import_posemamba(write_official(tmp_path / "best_epoch.bin", tensors), out)
    network, loaded = load_lifter_network(out)
    assert LiftConfig.from_json(loaded.config) == LiftConfig(
        d_model=width,
        depth=depth,
        max_frames=max_frames,
        drop_path=0.2,
        match_official_gradient=True,
        normalisation="image",
    )
    for frames in lengths:
        x = keypoints(frames)
        expected = straightforward.forward(tensors, x, detach_local=True)
        assert expected.shape == (2, frames, 17, 3)
        assert expected.std() > 0.3  # or agreement would mean little
        torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-5)


def test_every_tensor_matters_to_the_straightforward_one() -> None:
    """Otherwise an agreement would say nothing about the tensor."""
    tensors = {name: value.requires_grad_() for name, value in straightforward.random_tensors(WIDTH, 1, 3).items()}
    straightforward.forward(tensors, keypoints(3), detach_local=False).square().sum().backward()
    assert [name for name, value in tensors.items() if value.grad is None or value.grad.abs().sum() == 0] == []


def gradients(output: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    weight = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad((output * weight).sum(), list(parameters.values()))
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("is_official", [True, False], ids=["official gradient", "true gradient"])
def test_gradients_equal_the_straightforward_ones(official: Callable[..., Path], is_official: bool) -> None:
    checkpoint = read_posemamba(official())
    network = PoseMamba(replace(checkpoint.config, match_official_gradient=is_official)).eval()
    network.load_state_dict(checkpoint.tensors)
    x = keypoints(5)
    own = gradients(network(x), dict(network.named_parameters()))

    leaves = {
        name: value.clone().requires_grad_() for name, value in straightforward.random_tensors(WIDTH, DEPTH).items()
    }
    same, other = (
        gradients(straightforward.forward(leaves, x, detach_local=detach), leaves)
        for detach in (is_official, not is_official)
    )
    assert own.keys() == same.keys()
    for name, gradient in own.items():
        size = float(same[name].abs().max())
        assert (gradient - same[name]).abs().max() <= 2e-5 * size, name
    embedding = "Spatial_patch_to_embedding.weight"
    assert (own[embedding] - other[embedding]).abs().max() > 0.01 * own[embedding].abs().max()


@pytest.mark.parametrize(
    ("name", "num_tensors", "num_parameters"),
    [
        ("posemamba-s", 392, 1_470_211),
        ("posemamba-b", 392, 4_742_659),
        ("posemamba-l", 772, 9_450_499),
        ("posemamba-x", 772, 33_318_915),
    ],
)
def test_named_networks_have_the_authors_tensors(name: str, num_tensors: int, num_parameters: int) -> None:
    config = LIFT_CONFIGS[name]
    with torch.device("meta"):
        network = PoseMamba(config)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert own == straightforward.shapes(config.d_model, config.depth)
    assert len(own) == num_tensors
    assert sum(math.prod(shape) for shape in own.values()) == num_parameters
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


def test_the_largest_network_is_recognised(tmp_path: Path) -> None:
    """256 wide, 40 blocks; one stored number stands for each tensor."""
    tensors = {name: torch.zeros(()).expand(shape) for name, shape in straightforward.shapes(256, 20).items()}
    torch.save({f"module.{name}": value for name, value in tensors.items()}, tmp_path / "x.bin")
    config = read_posemamba(tmp_path / "x.bin").config
    assert config == replace(LIFT_CONFIGS["posemamba-x"], match_official_gradient=True)


def test_metadata_says_where_the_weights_come_from(official: Callable[..., Path], tmp_path: Path) -> None:
    path = official()
    import_posemamba(path, tmp_path / "out.safetensors")
    loaded = load_lifter_network(tmp_path / "out.safetensors")[1]
    assert loaded.metadata == {
        "source": "PoseMamba authors' checkpoint",
        "source_file": "best_epoch.bin",
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence_note": LICENCE_NOTE,
        "epoch": 90,
        "min_loss": 41.8,
    }
    assert "Apache-2.0" in LICENCE_NOTE and "academic" in LICENCE_NOTE


@pytest.mark.parametrize("spelling", ["numpy._core.multiarray", "numpy.core.multiarray"], ids=["NumPy 2", "NumPy 1"])
@pytest.mark.parametrize("value", [np.float64(41.796875), np.float32(41.796875), np.int64(-3)])
def test_a_number_of_numpy_is_read(
    official: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, spelling: str, value: np.generic
) -> None:
    """The authors' min_loss is a mean that NumPy computed."""

    def scalar() -> None: ...

    scalar.__module__, scalar.__qualname__ = spelling, "scalar"
    monkeypatch.setitem(sys.modules, spelling, SimpleNamespace(scalar=scalar))

    class Number:
        def __reduce__(self) -> tuple[Any, ...]:
            return scalar, (value.dtype, value.tobytes())

    path = official(min_loss=Number())
    monkeypatch.undo()
    assert read_posemamba(path).metadata["min_loss"] == value.item()
    assert read_posemamba(official(min_loss=value)).metadata["min_loss"] == value.item()


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_bare_state_dict_is_read(tmp_path: Path, prefix: str) -> None:
    tensors = straightforward.random_tensors(WIDTH, DEPTH)
    torch.save({prefix + name: value for name, value in tensors.items()}, tmp_path / "bare.bin")
    checkpoint = read_posemamba(tmp_path / "bare.bin")
    assert checkpoint.tensors.keys() == tensors.keys()
    assert all(torch.equal(checkpoint.tensors[name], value) for name, value in tensors.items())
    assert checkpoint.metadata["epoch"] is None and checkpoint.metadata["min_loss"] is None


def test_names_without_prefix_old_archives_and_remains_of_thop_are_read(tmp_path: Path) -> None:
    tensors = straightforward.random_tensors(WIDTH, DEPTH)
    remains = {"total_ops": torch.zeros(1), "STEblocks.0.op.total_params": torch.zeros(1)}
    path = tmp_path / "old.bin"
    torch.save({"model_pos": tensors | remains, "min_loss": math.nan}, path, _use_new_zipfile_serialization=False)
    checkpoint = read_posemamba(path)
    assert checkpoint.tensors.keys() == tensors.keys()
    assert checkpoint.metadata["min_loss"] is None


def test_half_precision_becomes_single(official: Callable[..., Path]) -> None:
    path = official(lambda tensors: tensors.update({name: value.half() for name, value in tensors.items()}))
    assert {value.dtype for value in read_posemamba(path).tensors.values()} == {torch.float32}


def lines(error: pytest.ExceptionInfo[WeightsError]) -> list[str]:
    return error.value.message.splitlines()


def test_everything_that_differs_is_said_at_once(official: Callable[..., Path]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["STEblocks.1.norm2.bias"]
        tensors["head.2.weight"] = torch.zeros(3)
        tensors["head.1.weight"] = torch.zeros(4, WIDTH)
        tensors["TTEblocks.0.op.Ds"] = torch.zeros(4 * 2 * WIDTH, dtype=torch.int64)
        tensors["Spatial_norm.bias"] = torch.full((WIDTH,), math.nan)

    path = official(change)
    with pytest.raises(WeightsError) as error:
        read_posemamba(path)
    assert lines(error) == [
        f"{path}: does not hold the tensors of a PoseMamba of width 16 and 4 blocks (88 in all)",
        "  missing (1): STEblocks.1.norm2.bias",
        "  unexpected (1): head.2.weight",
        "  wrong shape (1): head.1.weight is (4, 16), not (3, 16)",
        "  not real numbers (1): TTEblocks.0.op.Ds",
        "  not finite (1): Spatial_norm.bias",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("Temporal_pos_embed"), "  missing (1): Temporal_pos_embed"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "  unexpected (1): extra"),
        (
            lambda tensors: tensors.update(Spatial_pos_embed=torch.zeros(1, 16, 24)),
            "  wrong shape (1): Spatial_pos_embed is (1, 16, 24), not (1, 17, 16)",
        ),
        (
            lambda tensors: tensors.update({"module.head.1.bias": torch.zeros(3)}),
            "  unexpected (1): module.head.1.bias",
        ),
    ],
    ids=["missing", "extra", "wrong shape of a tensor that tells the width", "one name in both spellings"],
)
def test_one_difference_is_the_only_one_told(
    official: Callable[..., Path], change: Callable[[dict[str, Tensor]], object], said: str
) -> None:
    path = official(change, prefix="")
    with pytest.raises(WeightsError) as error:
        read_posemamba(path)
    assert lines(error)[1:] == [said]


def test_ten_are_named_and_the_others_counted(official: Callable[..., Path]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("TTEblocks.1.")]:
            del tensors[name]

    with pytest.raises(WeightsError) as error:
        read_posemamba(official(change))
    (line,) = lines(error)[1:]
    assert line.startswith("  missing (19): TTEblocks.1.")
    assert line.endswith("; and 9 more")
    assert line.count("TTEblocks.1.") == 10


class Code:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("is_archive", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, is_archive: bool) -> None:
    path, folder = tmp_path / "evil.bin", tmp_path / "made"
    content = {"model_pos": straightforward.random_tensors(WIDTH, DEPTH), "min_loss": Code(folder)}
    torch.save(content, path, _use_new_zipfile_serialization=is_archive)
    with pytest.raises(WeightsError) as error:
        read_posemamba(path)
    assert lines(error) == [f"{path}: holds code ({os.mkdir.__module__}.mkdir), refused"]
    assert not folder.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"hello world", b"<!DOCTYPE html>\n<html>", bytes(range(256))],
    ids=["empty", "text", "page", "bytes"],
)
def test_what_is_no_checkpoint_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.bin"
    path.write_bytes(content)
    with pytest.raises(WeightsError) as error:
        read_posemamba(path)
    assert lines(error) == [f"{path}: not a PyTorch checkpoint, or a damaged one"]


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_a_truncated_file_is_said(official: Callable[..., Path], share: float) -> None:
    path = official()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(WeightsError) as error:
        read_posemamba(path)
    assert lines(error) == [f"{path}: damaged or cut short"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"epoch": 3}, "holds no state dict of PoseMamba"),
        ([torch.zeros(3)], "holds one value of type list, not a PoseMamba checkpoint"),
        ({"model_pos": {"a.weight": torch.zeros(3)}}, "holds no PoseMamba: none of its tensors"),
        ({"model_pos": {"a": torch.zeros(3), "b": 1}}, "entry 'b' of the state dict is of type int, not a tensor"),
        (
            {name: torch.zeros(shape) for name, shape in straightforward.shapes(12, 1, 3).items()},
            "not a PoseMamba that posecli can run: lifter of width 12,",
        ),
    ],
    ids=["no tensors", "no dict", "another network", "a number among the tensors", "a width that the scan does not do"],
)
def test_another_content_is_said(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "other.bin"
    torch.save(content, path)
    with pytest.raises(WeightsError) as error:
        read_posemamba(path)
    assert error.value.message.startswith(f"{path}: {said}")


def test_a_missing_file_and_an_existing_output_are_said(official: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.bin: no such checkpoint file"):
        read_posemamba(tmp_path / "nowhere.bin")
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"kept")
    with pytest.raises(OutputError, match="exists already"):
        import_posemamba(official(), out)
    assert out.read_bytes() == b"kept"
    import_posemamba(official(), out, overwrite=True)
    assert load_lifter_network(out)[1].kind == "lifting"
