"""MoveNet MultiPose's public graph model to a detector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from posecli.cli.app import app
from posecli.errors import WeightsError
from posecli.people.multipose_checkpoint import import_multipose
from posecli.people.personnet import PersonNet, PersonNetConfig
from posecli.training.detector.initialise import initialise
from posecli.weights import load_weights
from tests.movenet_files import CENTRE, HEATMAP, OFFSET, SCALE, State, head_by_hand, public_state, write_graph_model

HEADS = (CENTRE, SCALE, OFFSET)


def several_people() -> State:
    """Sizes well above nought, as a trained network's are."""
    state = public_state(HEADS)
    state["box_scale_0/conv2d_5/BiasAdd/ReadVariableOp"] += 40.0
    return state


def test_the_imported_detector_says_what_the_public_one_does(tmp_path: Path) -> None:
    state = several_people()
    import_multipose(write_graph_model(tmp_path / "model.json", state), tmp_path / "out.safetensors")
    loaded = load_weights(tmp_path / "out.safetensors")
    network = PersonNet(PersonNetConfig.from_json(loaded.config)).eval()
    network.load_state_dict(loaded.tensors)
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        centre, boxes = network(images)
        logits, size, offset = (head_by_hand(state, images, head) for head in HEADS)
    assert logits.std() > 0.01
    assert (centre - logits[:, 0]).abs().max() <= 1e-4 * logits.abs().max()
    # MultiPose: y before x, in cells of 4 px from a cell's corner, which is half a pixel before the first pixel's centre
    rows, columns = torch.arange(16)[:, None], torch.arange(24)
    middle = torch.stack([4 * (columns + offset[:, 1]) - 0.5, 4 * (rows + offset[:, 0]) - 0.5], dim=1)
    half = 2 * size.flip(1)
    assert size.min() > 5
    torch.testing.assert_close(boxes, torch.cat([middle - half, middle + half], dim=1), atol=2e-2, rtol=1e-4)


def test_training_starts_from_it(tmp_path: Path) -> None:
    written = import_multipose(
        write_graph_model(tmp_path / "model.json", several_people()), tmp_path / "out.safetensors"
    )
    model = PersonNet(PersonNetConfig(width=1.0))
    assert initialise(model, tmp_path / "out.safetensors") == len(written)
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in written.items())


def test_a_model_for_one_person_is_refused(tmp_path: Path) -> None:
    path = write_graph_model(tmp_path / "model.json", public_state((HEATMAP,)))
    with pytest.raises(WeightsError, match=r"missing \(15\): centre\.0\.depthwise\.weight"):
        import_multipose(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_the_command_makes_a_detector(tmp_path: Path) -> None:
    graph, out = write_graph_model(tmp_path / "model.json", several_people()), tmp_path / "out.safetensors"
    result = CliRunner().invoke(app, ["weights", "import", "multipose", str(graph), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "Apache-2.0" in result.stderr
    assert load_weights(out).kind == "detector"
