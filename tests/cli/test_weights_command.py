"""``posecli weights`` and ``posecli doctor`` on a registry of our own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from posecli import weights
from posecli.cli.app import app
from posecli.weights import WeightsEntry, register_weights, save_weights


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, {"x": torch.zeros(3)}, kind="pose", config={})
    register_weights(path, name="tiny", description="for tests")
    far = WeightsEntry(
        "far", "pose", "far.safetensors", "ab" * 32, 5_000_000, "MIT", "remote", url="https://x.invalid/f"
    )
    monkeypatch.setattr(weights, "embedded_folder", lambda: tmp_path)
    monkeypatch.setattr(weights, "_REMOTE", (far,))
    monkeypatch.setattr(weights, "WEIGHTS", type(weights.WEIGHTS)())
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="posecli")


def test_list(registry: Path) -> None:
    result = run("weights", "list")
    assert result.exit_code == 0
    assert result.stdout == (
        "NAME  KIND  SIZE    LICENCE     HERE  DESCRIPTION\n"
        "tiny  pose  0.0 MB  Apache-2.0  yes   for tests\n"
        "far   pose  5.0 MB  MIT         no    remote\n"
    )
    rows = json.loads(run("weights", "list", "--json").stdout)
    assert [(row["name"], row["is_present"]) for row in rows] == [("tiny", True), ("far", False)]


def test_path_and_fetch_print_the_file(registry: Path) -> None:
    for verb in ("path", "fetch"):
        result = run("weights", verb, "tiny")
        assert (result.exit_code, result.stdout) == (0, f"{registry / 'tiny.safetensors'}\n")


def test_offline_fetch_says_how_to_go_online(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSECLI_OFFLINE")
    result = run("weights", "fetch", "far", "--offline")
    assert result.exit_code == 4
    assert result.stderr == (
        "error: far-abababab.safetensors: not on this machine, and posecli is offline\n"
        "hint: unset POSECLI_OFFLINE (or drop --offline) to fetch https://x.invalid/f\n"
    )
    assert os.environ["POSECLI_OFFLINE"] == "1"  # so that worker processes stay offline too


def test_verify_passes_then_names_the_damaged_file(registry: Path) -> None:
    assert run("weights", "verify").exit_code == 0
    checks = json.loads(run("weights", "verify", "--json").stdout)
    assert [(check["name"], check["status"]) for check in checks] == [("tiny", "ok"), ("far", "absent")]
    (registry / "tiny.safetensors").write_bytes(b"spoilt")
    result = run("weights", "verify")
    assert result.exit_code == 4
    assert "tiny  corrupt  checksum is" in result.stdout
    assert result.stderr.startswith(f"error: {registry / 'tiny.safetensors'}: corrupt: ")


def test_verify_of_one_absent_name_fails(registry: Path) -> None:
    assert run("weights", "verify", "far").exit_code == 4


def test_register_writes_the_manifest(registry: Path) -> None:
    path = registry / "second.safetensors"
    digest = save_weights(path, {"x": torch.ones(3)}, kind="detector", config={})
    result = run("weights", "register", str(path), "--name", "second", "--description", "new")
    assert result.exit_code == 0
    assert result.stdout == f"second  {digest}  {path.stat().st_size}\n"
    names = [row["name"] for row in json.loads((registry / "manifest.json").read_text())["weights"]]
    assert names == ["second", "tiny"]


def test_doctor_reports_and_fails_on_damaged_weights(registry: Path) -> None:
    findings = {row["topic"]: row for row in json.loads(run("doctor", "--json").stdout)}
    assert findings["weights tiny"]["status"] == "ok"
    assert findings["weights far"] == {
        "topic": "weights far",
        "status": "absent",
        "value": "not fetched yet",
        "remedy": "posecli weights fetch far",
    }
    assert findings["torch"]["value"] == torch.__version__
    assert findings["libx264"]["status"] == "ok"
    assert findings["scan reference"]["status"] == "ok"
    (registry / "tiny.safetensors").write_bytes(b"spoilt")
    result = run("doctor")
    assert result.exit_code == 1
    assert "failed   weights tiny" in result.stdout


def test_doctor_goes_on_when_one_look_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    from posecli.cli import doctor

    def crash() -> None:
        raise RuntimeError("broken install")

    monkeypatch.setattr(doctor, "_video", crash)
    findings = {finding.topic: finding for finding in doctor.examine()}
    assert (findings["video"].status, findings["video"].value) == ("failed", "RuntimeError: broken install")
    assert "cache" in findings


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A checkpoint as the PoseMamba authors' training writes it."""
    from posecli.lifting.config import LiftConfig
    from posecli.lifting.network import PoseMamba

    torch.manual_seed(0)
    state = PoseMamba(LiftConfig(d_model=16, depth=1)).state_dict()
    content = {"epoch": 5, "lr": 1e-4, "optimizer": {}, "model_pos": {f"module.{k}": v for k, v in state.items()}}
    torch.save(content | {"min_loss": 40.5}, tmp_path / "best_epoch.bin")
    return tmp_path / "best_epoch.bin"


def test_import_writes_weights_and_replaces_them_only_when_told(official: Path, tmp_path: Path) -> None:
    out = tmp_path / "lifter.safetensors"
    arguments = ["weights", "import", "posemamba", str(official), "--out", str(out)]
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert result.stderr.startswith("width 16, 2 blocks, 23,779 parameters\n")
    assert "Human3.6M" in result.stderr
    header = weights.read_header(out)
    assert header.kind == "lifting"
    assert header.config["match_official_gradient"] is True
    assert (header.metadata["epoch"], header.metadata["min_loss"]) == (5, 40.5)

    before = out.read_bytes()
    again = run(*arguments)
    assert again.exit_code == 7
    assert again.stderr == f"error: {out}: exists already\nhint: pass --overwrite to replace it\n"
    out.write_bytes(b"old")
    quiet = run(*arguments, "--overwrite", "--quiet")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert out.read_bytes() == before


def test_import_of_another_kind_or_another_file_is_one_error(official: Path, tmp_path: Path) -> None:
    out = tmp_path / "lifter.safetensors"
    result = run("weights", "import", "posebert", str(official), "--out", str(out))
    assert result.exit_code == 2
    assert result.stderr == "error: unknown kind of checkpoint 'posebert'\nhint: posecli imports: posemamba\n"
    official.write_text("no checkpoint")
    result = run("weights", "import", "posemamba", str(official), "--out", str(out))
    assert result.exit_code == 4
    assert result.stderr.startswith(f"error: {official}: not a PyTorch checkpoint, or a damaged one\nhint: ")
    assert not out.exists()
