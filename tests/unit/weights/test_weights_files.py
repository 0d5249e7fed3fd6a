"""Weights files, the manifest and names: written, read back, damaged, missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from posecli import weights
from posecli.errors import OutputError, WeightsError
from posecli.weights import (
    WeightsEntry,
    cache_folder,
    fetch_weights,
    folders,
    load_weights,
    read_header,
    read_manifest,
    register_weights,
    resolve_weights,
    save_weights,
    verify_weights,
)
from posecli.weights import registry as registry_file

CONFIG = {"width": 8, "names": ["a", "b"], "rate": 0.5}


def some_tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return {"net.a": base, "net.view": base[:, ::2].T, "net.half": base.half(), "net.count": torch.tensor(3)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_weights(path, some_tensors(), kind="pose", config=CONFIG, metadata={"steps": 10})
    return path


@pytest.fixture
def registry(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registry of one embedded file, ``tiny``, and one remote, ``far``; returns the embedded folder."""
    register_weights(file, name="tiny", description="for tests", skeleton="coco17")
    far = WeightsEntry(
        "far", "pose", "far.safetensors", "ab" * 32, 5, "MIT", "elsewhere", urls=("https://example.invalid/far",)
    )
    monkeypatch.setattr(folders, "embedded_folder", lambda: file.parent)
    monkeypatch.setattr(registry_file, "embedded_folder", lambda: file.parent)
    monkeypatch.setattr(registry_file, "PUBLIC", (far,))
    monkeypatch.delitem(vars(weights.WEIGHTS), "entries", raising=False)
    yield file.parent
    vars(weights.WEIGHTS).pop("entries", None)


def test_what_is_saved_is_loaded(file: Path) -> None:
    loaded = load_weights(file)
    assert (loaded.name, loaded.path, loaded.kind) == ("tiny", file, "pose")
    assert loaded.config == CONFIG
    assert loaded.metadata == {"steps": 10}
    expected = some_tensors()
    assert loaded.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_same_tensors_give_the_same_bytes(file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    digest = save_weights(
        again, some_tensors(), kind="pose", config=dict(reversed(CONFIG.items())), metadata={"steps": 10}
    )
    assert again.read_bytes() == file.read_bytes()
    assert digest == load_weights(file).sha256


def test_saving_refuses_to_replace_unless_told(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        save_weights(file, {}, kind="pose", config={})
    assert file.read_bytes() == before
    save_weights(file, {"x": torch.zeros(1)}, kind="detector", config={}, overwrite=True)
    assert read_header(file).kind == "detector"


@pytest.mark.parametrize("num_kept", [0, 4, 60, -1])
def test_a_file_cut_short_is_named_as_damaged(file: Path, num_kept: int) -> None:
    file.write_bytes(file.read_bytes()[:num_kept])
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: weights file cannot be read") as caught:
        load_weights(file)
    assert caught.value.hint == "replace the file; it is damaged"


def test_safetensors_of_others_are_told_apart_from_damaged_ones(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="without posecli's configuration"):
        load_weights(path)
    save_file({"x": torch.zeros(2)}, path, metadata={"posecli": '{"kind": "pose"}'})
    with pytest.raises(WeightsError, match="configuration cannot be read: 'config'"):
        load_weights(path)


def test_registered_weights_go_by_name(registry: Path) -> None:
    assert list(weights.WEIGHTS) == ["tiny", "far"]
    entry = weights.WEIGHTS["tiny"]
    assert (entry.kind, entry.skeleton, entry.licence, entry.is_embedded) == ("pose", "coco17", "Apache-2.0", True)
    assert resolve_weights("tiny") == fetch_weights("tiny") == registry / "tiny.safetensors"
    assert load_weights("tiny").name == "tiny"


def test_registering_again_replaces_the_entry(registry: Path) -> None:
    path = registry / "tiny.safetensors"
    digest = save_weights(path, {"x": torch.ones(1)}, kind="pose", config={}, overwrite=True)
    register_weights(path, name="tiny", description="second")
    save_weights(registry / "other.safetensors", {}, kind="pose", config={})
    register_weights(registry / "other.safetensors", name="other", description="third")
    entries = read_manifest(registry / "manifest.json")
    assert [(entry.name, entry.description) for entry in entries] == [("other", "third"), ("tiny", "second")]
    assert entries[1].sha256 == digest


def test_embedded_weights_that_changed_are_refused(registry: Path) -> None:
    path = registry / "tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # one bit of one value: still perfectly readable
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"tiny\.safetensors: weights file is damaged: checksum is") as caught:
        load_weights("tiny")
    assert caught.value.hint is not None
    assert "reinstall posecli" in caught.value.hint
    with pytest.raises(WeightsError, match="embedded weights are corrupt"):
        fetch_weights("tiny")


def test_verify_reports_every_entry_without_fetching(registry: Path) -> None:
    assert [(check.name, check.status) for check in verify_weights()] == [("tiny", "ok"), ("far", "absent")]
    (registry / "tiny.safetensors").write_bytes(b"x")
    assert [check.status for check in verify_weights("tiny")] == ["corrupt"]
    (registry / "tiny.safetensors").unlink()
    assert [check.detail for check in verify_weights("tiny")] == ["file is missing"]


def test_remote_weights_live_in_the_cache_under_their_hash(registry: Path) -> None:
    assert weights.WEIGHTS["far"].path == cache_folder() / "weights" / "far-abababab.safetensors"
    with pytest.raises(WeightsError, match="posecli is offline"):
        resolve_weights("far")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("tyni", "unknown weights 'tyni'"),
        ("no/such.bin", "no/such.bin: no such weights file"),
        ("w.safetensors", "no such"),
    ],
)
def test_unknown_names_list_the_known_ones(registry: Path, asked: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(asked)
    assert caught.value.hint == "known names: tiny, far; or give the path of a .safetensors file"


@pytest.mark.parametrize("text", ["", "[]", '{"weights": [{"name": "x"}]}', '{"weights": 3}'])
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match=r"manifest\.json: not a weights manifest"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "AB"}, "64 hexadecimal"),
        ({"num_bytes": 0}, "positive"),
        ({"file": "../x"}, "bare file name"),
        ({"sha256": None}, "embedded weights need a sha256"),
        ({"num_bytes": None, "urls": ("https://x",)}, "max_bytes as a cap"),
    ],
)
def test_entries_check_themselves(change: dict[str, Any], message: str) -> None:
    row: dict[str, Any] = {
        "name": "n",
        "kind": "pose",
        "file": "f",
        "sha256": "0" * 64,
        "num_bytes": 1,
        "licence": "",
        "description": "",
    }
    with pytest.raises(WeightsError, match=message):
        WeightsEntry(**(row | change))


def test_shipped_weights_are_what_the_manifest_says(repository: Path) -> None:
    folder = repository / "weights"
    entries = read_manifest(folder / "manifest.json")
    assert {entry.file for entry in entries} == {path.name for path in folder.glob("*.safetensors")}
    assert [check.status for check in verify_weights() if weights.WEIGHTS[check.name].is_embedded] == ["ok"] * len(
        entries
    )
    for entry in entries:
        assert entry.path.stat().st_size == entry.num_bytes
        assert entry.accuracy, f"{entry.name}: one line on how accurate it is, from its card"
        assert read_header(entry.path).kind == entry.kind


def test_cache_folder_follows_posecli_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("POSECLI_HOME")
    assert cache_folder().name == "posecli"


def test_manifest_is_readable_json(registry: Path) -> None:
    rows = json.loads((registry / "manifest.json").read_text())["weights"]
    assert [sorted(row) for row in rows] == [
        ["accuracy", "description", "file", "kind", "licence", "name", "num_bytes", "sha256", "skeleton"]
    ]
