"""``posecli evaluate joints``: files of every kind it reads, and mistakes. What the figures mean is in ``tests/unit/evaluation``."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from posecli.cli.app import app
from posecli.skeletons import POSECLI19

NUM_FRAMES = 6


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", "joints", *map(str, arguments)])


def document_of(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def tiny_lifter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' kind of network, of one pair of narrow blocks."""
    import torch

    from posecli.lifting.checkpoint import save_lifter_network
    from posecli.lifting.config import LiftConfig
    from posecli.lifting.network import PoseMamba

    torch.manual_seed(0)
    config = LiftConfig(d_model=16, depth=1, max_frames=9)
    path = tmp_path_factory.mktemp("lifter") / "tiny.safetensors"
    save_lifter_network(path, PoseMamba(config).state_dict(), config, metadata={})
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Labels as posecli synth clips writes them: one person."""
    rng = np.random.default_rng(0)
    body = rng.normal(0, 300, (19, 3))
    images = [{"id": f, "file_name": f"{f}", "width": 640, "height": 480} for f in range(NUM_FRAMES)]
    rows = []
    for frame in range(NUM_FRAMES):
        points = [v for x, y, _ in (body * 0.3 + 240).tolist() for v in (x, y, 2)]
        row = {"id": frame + 1, "image_id": frame, "category_id": 1, "track_id": 1, "bbox": [0, 0, 99, 99]}
        rows.append({**row, "keypoints": points, "keypoints_3d_mm": (body + [0, 0, 10 * frame]).tolist()})  # noqa: RUF005
    categories = [{"id": 1, "name": "person", "keypoints": list(POSECLI19.keypoint_names)}]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return path


def test_labels_against_themselves(truth: Path) -> None:
    report = document_of(evaluate(truth, truth, "--json"))
    assert report["mpjpe_mm"] == report["mpjve_mm"] == 0
    assert report["found_poses"] == NUM_FRAMES
    table = evaluate(truth, truth, "--per-joint", "--same-size")
    assert table.exit_code == 0, table.output
    lines = [line.split() for line in table.stdout.splitlines()]
    assert ["mpjpe_mm", "0.0"] in lines
    assert ["left_knee", "0.0"] in lines


def test_human36m(tmp_path: Path, tiny_lifter: Path) -> None:
    rng = np.random.default_rng(1)
    count = 20
    part = {
        "joint_2d": rng.uniform(300, 700, (count, 17, 2)),
        "joints_2.5d_image": rng.normal(0, 300, (count, 17, 3)),
        "2.5d_factor": np.full(count, 4.0),
        "camera_name": ["54138969"] * count,
        "source": ["s_11_act_02_subact_01_ca_01"] * count,
        "action": [2] * count,
    }
    path = tmp_path / "h36m.pkl"
    path.write_bytes(pickle.dumps({"test": part}))
    asked = ("--h36m", path, "--weights", tiny_lifter)
    report = document_of(evaluate(*asked, "--json"))
    assert (report["clip_frames"], report["num_clips"], report["frames"]) == (9, 2, 18)
    assert report["per_action"]["Directions"]["mpjpe_mm"] == pytest.approx(report["mpjpe_mm"])
    assert document_of(evaluate(*asked, "--json", "--frames", 5))["num_clips"] == 4
    once = document_of(evaluate(*asked, "--json", "--no-mirror"))
    assert once["mpjpe_mm"] != report["mpjpe_mm"]
    table = evaluate(*asked, "--per-joint")
    assert [line.split()[0] for line in table.stdout.splitlines() if line][:3] == ["ACTION", "Directions", "mean"]


def test_mpi_inf_3dhp(tmp_path: Path, tiny_lifter: Path) -> None:
    rng = np.random.default_rng(1)
    sequence = {
        "data_2d": rng.uniform(300, 700, (12, 17, 2)),
        "data_3d": rng.normal(0, 300, (12, 17, 3)),
        "valid": np.arange(12) % 2,
    }
    path = tmp_path / "data_test_3dhp.npz"
    np.savez_compressed(path, data=np.array({"TS1": sequence}, object))
    asked = ("--mpi-inf-3dhp", path, "--weights", tiny_lifter)
    report = document_of(evaluate(*asked, "--json"))
    assert report["frames"] == report["per_sequence"]["TS1"]["frames"] == 6
    assert "head_top" in report["per_joint_mm"]
    table = evaluate(*asked)
    assert [line.split()[0] for line in table.stdout.splitlines() if line][:2] == ["SEQUENCE", "TS1"]
    assert evaluate(*asked, "--frames", 4).exit_code == 2


def test_mistakes_are_told(tmp_path: Path, truth: Path, tiny_lifter: Path) -> None:
    npz = tmp_path / "data_3d_h36m.npz"
    np.savez(npz, positions_3d=np.zeros(3))
    for arguments, code, told in (
        ((), 2, "POSES and TRUTH"),
        ((truth,), 2, "POSES and TRUTH"),
        ((truth, truth, "--h36m", npz), 2, "only one of them"),
        (("--h36m", npz), 2, "goes with --h36m-2d"),
        (("--mpi-inf-3dhp", npz, "--h36m-2d", npz), 2, "--h36m-2d goes with"),
        (("--h36m", npz, "--h36m-2d", npz, "--weights", tiny_lifter), 5, "has no table 'positions_3d'"),
        (("--mpi-inf-3dhp", tmp_path / "absent.npz"), 5, "absent.npz: cannot be read"),
        ((truth, tmp_path / "absent.json"), 5, "absent.json"),
    ):
        result = evaluate(*arguments)
        assert result.exit_code == code, (arguments, result.output)
        assert told in str(result.exception or "") + result.output, (arguments, result.output)
