"""MoveNet's public graph model to an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from posecli.cli.app import app
from posecli.encoder import normalise_images
from posecli.errors import OutputError, WeightsError
from posecli.mobile_encoder import MobileEncoder, MobileEncoderConfig
from posecli.movenet import read_graph_model
from posecli.pose.config import PoseConfig
from posecli.pose.movenet_checkpoint import import_movenet
from posecli.training.models import NetworkTraining, carry_over
from posecli.weights import load_weights
from tests.movenet_files import HEATMAP, LADDER, State, head_by_hand, public_state, write_graph_model


def test_the_imported_encoder_computes_what_the_public_one_does(tmp_path: Path) -> None:
    state = public_state()
    import_movenet(write_graph_model(tmp_path / "model.json", state), tmp_path / "out.safetensors")
    loaded = load_weights(tmp_path / "out.safetensors")
    encoder = MobileEncoder(MobileEncoderConfig(width=loaded.config["encoder"]["width"])).eval()
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in loaded.tensors.items()})
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        ours, theirs = encoder(normalise_images(images)), head_by_hand(state, images, HEATMAP, is_hidden=True)
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
