"""``posecli weights`` and ``posecli doctor`` on a registry of our own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from posecli import weights
from posecli.cli.app import app
from posecli.weights import WeightsEntry, folders, register_weights, save_weights
from posecli.weights import registry as registry_file


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, {"x": torch.zeros(3)}, kind="pose", config={})
    register_weights(path, name="tiny", description="for tests", accuracy="none")
    far = WeightsEntry(
        "far", "pose", "far.safetensors", "ab" * 32, 5_000_000, "MIT", "remote", urls=("https://x.invalid/f",)
    )
    new = WeightsEntry(
        "new", "lifting", "new.bin", None, None, "MIT", "", urls=("https://x.invalid/n",), max_bytes=10_000_000
    )
    for module in (folders, registry_file):
        monkeypatch.setattr(module, "embedded_folder", lambda: tmp_path)
    monkeypatch.setattr(registry_file, "PUBLIC", (far, new))
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path / "home"))
    vars(weights.WEIGHTS).pop("entries", None)
    yield tmp_path
    vars(weights.WEIGHTS).pop("entries", None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="posecli")


def test_list(registry: Path) -> None:
    result = run("weights", "list")
    assert result.exit_code == 0
    assert result.stdout == (
        "NAME  KIND     SIZE     LICENCE     WHERE        CHECKSUM        ACCURACY\n"
        "tiny  pose     0.0 MB   Apache-2.0  embedded     known           none\n"
        "far   pose     5.0 MB   MIT         not fetched  known           not measured\n"
        "new   lifting  < 10 MB  MIT         not fetched  at first fetch  not measured\n"
    )
    assert "no checksum is known. The first fetch records one" in result.stderr
    rows = json.loads(run("weights", "list", "--json").stdout)
    assert [(row["name"], row["where"], row["licence"], row["accuracy"]) for row in rows] == [
        ("tiny", "embedded", "Apache-2.0", "none"),
        ("far", "not fetched", "MIT", None),
        ("new", "not fetched", "MIT", None),
    ]
    assert [row["recorded_sha256"] for row in rows] == [None] * 3


def test_fetch_and_list_say_that_a_checksum_was_recorded(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = weights.WEIGHTS["new"]

    def arrive(name: str, **_: object) -> Path:
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        entry.path.write_bytes(b"x" * 2_000_000)
        entry.record("c" * 64)
        return entry.path

    monkeypatch.setattr(weights, "fetch_weights", arrive)
    first, second = run("weights", "fetch", "new"), run("weights", "fetch", "new")
    assert first.stdout == f"{entry.path}\n"
    told = f"no checksum of new was known beforehand: that of this file, {'c' * 64}, "
    assert first.stderr.startswith(f"{told}is recorded now, to be checked ever after ({entry.record_path})\n")
    assert second.stderr.startswith(f"{told}is the one recorded at the first fetch ")
    assert "new   lifting  2.0 MB  MIT         cached       recorded  not measured\n" in run("weights", "list").stdout


def test_prune_says_what_and_how_much(registry: Path) -> None:
    folder = registry / "home" / "weights"
    folder.mkdir(parents=True)
    (folder / "old.bin").write_bytes(b"x" * 1234)
    planned = run("weights", "prune", "--dry-run")
    assert planned.stdout == f"{'FILE':<{len(str(folder / 'old.bin'))}}  BYTES\n{folder / 'old.bin'}  1,234\n"
    assert planned.stderr == "1 files, 1,234 bytes would be removed\n"
    assert json.loads(run("weights", "prune", "--json").stdout) == {
        "is_dry_run": False,
        "num_bytes": 1234,
        "removed": [{"path": str(folder / "old.bin"), "num_bytes": 1234}],
    }
    assert list(folder.iterdir()) == []
    assert run("weights", "prune").stderr == "0 files, 0 bytes removed\n"


def test_export_copies_the_file(registry: Path) -> None:
    out = registry / "elsewhere.safetensors"
    result = run("weights", "export", "tiny", str(out))
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    assert out.read_bytes() == (registry / "tiny.safetensors").read_bytes()
    assert json.loads(out.with_suffix(".json").read_text())["kind"] == "pose"
    assert run("weights", "export", "tiny", str(out)).exit_code == 7


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
    found = [(check["name"], check["status"]) for check in checks]
    assert found == [("tiny", "ok"), ("far", "absent"), ("new", "absent")]
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
    result = run("weights", "register", str(path), "--name", "second", "--description", "new", "--accuracy", "10 mm")
    assert result.exit_code == 0
    assert result.stdout == f"second  {digest}  {path.stat().st_size}\n"
    rows = json.loads((registry / "manifest.json").read_text())["weights"]
    assert [(row["name"], row["accuracy"]) for row in rows] == [("second", "10 mm"), ("tiny", "none")]


def test_doctor_reports_and_fails_on_damaged_weights(registry: Path) -> None:
    findings = {row["topic"]: row for row in json.loads(run("doctor", "--json").stdout)}
    assert findings["weights tiny"]["status"] == "ok"
    assert "weights far" not in findings  # nobody asked for it
    assert findings["weights to fetch"]["value"] == "2 public ones are known: posecli weights list"
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
    assert result.stderr == (
        "error: unknown kind of checkpoint 'posebert'\nhint: posecli imports: posemamba, vitpose, movenet, multipose\n"
    )
    official.write_text("no checkpoint")
    result = run("weights", "import", "posemamba", str(official), "--out", str(out))
    assert result.exit_code == 4
    assert result.stderr.startswith(f"error: {official}: not a PyTorch checkpoint, or a damaged one\nhint: ")
    assert not out.exists()
