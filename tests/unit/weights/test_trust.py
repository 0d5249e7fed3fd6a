"""Weights of which no checksum is known: recorded at the first fetch, checked ever after; and the cache they lie in."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as to_safetensors

from posecli.download import Patience, locked
from posecli.errors import OutputError, WeightsError
from posecli.weights import (
    WEIGHTS,
    WeightsEntry,
    cache_folder,
    export_weights,
    fetch_weights,
    load_weights,
    prune_cache,
    resolve_weights,
    save_weights,
    verify_weights,
)
from posecli.weights.public import PUBLIC

HURRIED = Patience(silence_s=0.25, attempts=2, pause_s=0.01, seed=1)
FIRST = to_safetensors({"a": torch.arange(1000.0)})
SECOND = to_safetensors({"a": -torch.arange(1000.0)})


def entry(url: str, **changes: Any) -> WeightsEntry:
    values: dict[str, Any] = {
        "name": "far",
        "kind": "lifting",
        "file": "far.safetensors",
        "sha256": None,
        "num_bytes": None,
        "licence": "MIT",
        "description": "elsewhere",
        "urls": (url,),
        "max_bytes": 100_000,
    }
    return WeightsEntry(**(values | changes))


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WeightsEntry]]:
    """Puts one entry into an otherwise empty registry, and an empty cache beside."""
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path / "home"))

    def register(url: str, **changes: Any) -> WeightsEntry:
        far = entry(url, **changes)
        vars(WEIGHTS)["entries"] = {far.name: far}
        return far

    yield register
    vars(WEIGHTS).pop("entries", None)


Register = Callable[..., WeightsEntry]


def files() -> list[str]:
    return sorted(path.name for path in (cache_folder() / "weights").iterdir() if not path.name.endswith(".lock"))


def test_the_first_fetch_records_and_everything_later_checks(server: Any, register: Register) -> None:
    far = register(server.serve("/w", server.whole(FIRST)))
    assert far.expected_sha256() is None
    path = fetch_weights("far", patience=HURRIED)
    digest = hashlib.sha256(FIRST).hexdigest()
    assert path.name == "far-unpinned.safetensors"
    assert far.record_path.read_text() == f"{digest}  far-unpinned.safetensors\n"
    assert far.expected_sha256() == digest
    assert resolve_weights("far") == path
    (check,) = verify_weights("far")
    assert (check.status, check.detail) == ("ok", f"sha256 {digest[:12]}..., as recorded at the first fetch")
    assert len(server.asked) == 1

    path.write_bytes(SECOND)
    (check,) = verify_weights("far")
    assert check.status == "corrupt"
    assert (
        fetch_weights("far", patience=HURRIED).read_bytes() == FIRST
    )  # what was there is replaced by what was recorded


def test_content_that_changed_on_the_server_is_refused_until_the_record_is_removed(
    server: Any, register: Register
) -> None:
    url = server.serve("/w", server.whole(FIRST))
    far = register(url)
    fetch_weights("far", patience=HURRIED).unlink()
    server.serve("/w", server.whole(SECOND))
    with pytest.raises(WeightsError, match="checksum is .* nothing was kept") as caught:
        fetch_weights("far", patience=HURRIED)
    assert f"remove {far.record_path} and fetch again" in (caught.value.hint or "")
    assert files() == ["far-unpinned.safetensors.sha256"]
    far.record_path.unlink()
    assert fetch_weights("far", patience=HURRIED).read_bytes() == SECOND


def test_a_file_without_its_record_is_not_trusted(server: Any, register: Register) -> None:
    far = register(server.serve("/w", server.whole(FIRST)))
    fetch_weights("far", patience=HURRIED)
    far.record_path.unlink()
    far.path.write_bytes(SECOND)
    assert verify_weights("far")[0].detail == "its recorded checksum is gone"
    assert resolve_weights("far", patience=HURRIED).read_bytes() == FIRST


def test_a_record_that_cannot_be_read_is_named(register: Register) -> None:
    far = register("https://x.invalid/w")
    far.record_path.parent.mkdir(parents=True)
    far.record_path.write_text("hello")
    with pytest.raises(WeightsError, match=r"far-unpinned\.safetensors\.sha256: holds no recorded checksum"):
        far.expected_sha256()


def torch_file(folder: Path) -> bytes:
    torch.save({"a": torch.arange(1000.0)}, folder / "w.bin")
    return (folder / "w.bin").read_bytes()


def test_a_pytorch_file_is_whole_when_its_parts_are(server: Any, register: Register, tmp_path: Path) -> None:
    whole = torch_file(tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    register(server.serve("/w", server.whole(bytes(flipped))), file="far.bin")
    with pytest.raises(WeightsError, match="what arrived is not a whole weights file .*, and no checksum is known"):
        fetch_weights("far", patience=HURRIED)
    assert files() == []
    server.serve("/w", server.whole(whole))
    assert fetch_weights("far", patience=HURRIED).read_bytes() == whole


@pytest.mark.parametrize("file", ["far.safetensors", "far.bin"])
@pytest.mark.parametrize("what", ["page", "cut", "empty"])
def test_what_is_no_whole_file_is_never_trusted(
    server: Any, register: Register, tmp_path: Path, file: str, what: str
) -> None:
    """Also where the server promises no more than it sends, so that HTTP finds nothing wrong."""
    whole = FIRST if file == "far.safetensors" else torch_file(tmp_path)
    sent = {"page": b"<html>please log in</html>", "cut": whole[: len(whole) // 2], "empty": b""}[what]
    register(server.serve("/w", server.whole(sent)), file=file)
    with pytest.raises(WeightsError, match="not a whole weights file"):
        fetch_weights("far", patience=HURRIED)
    assert files() == []


def test_archives_that_are_no_checkpoints_are_not_trusted(server: Any, register: Register, tmp_path: Path) -> None:
    url = server.serve("/w", server.status(404))
    register(url, file="far.bin")
    for how, message in ((zipfile.ZIP_DEFLATED, "compressed"), (zipfile.ZIP_STORED, "no PyTorch checkpoint")):
        with zipfile.ZipFile(tmp_path / "x.zip", "w", how) as archive:
            archive.writestr("x/readme", b"0" * 1000)
        server.serve("/w", server.whole((tmp_path / "x.zip").read_bytes()))
        with pytest.raises(WeightsError, match=message):
            fetch_weights("far", patience=HURRIED)


def test_two_processes_trust_the_same_first_fetch(server: Any, register: Register) -> None:
    far = register(server.serve("/w", server.dripping(1000, 0.1, FIRST), server.whole(SECOND)))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=fetch_weights, args=(far,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(server.asked) == 1
    assert far.path.read_bytes() == FIRST


# Loading


def test_our_own_weights_are_fetched_when_asked_for_by_name(server: Any, register: Register, tmp_path: Path) -> None:
    digest = save_weights(tmp_path / "w.safetensors", {"x": torch.ones(2)}, kind="pose", config={})
    content = (tmp_path / "w.safetensors").read_bytes()
    register(server.serve("/w", server.whole(content)), sha256=digest, num_bytes=len(content))
    assert load_weights("far").sha256 == digest


@pytest.mark.parametrize(
    ("origin", "hint"),
    [("ultralytics", "--detector yolo"), ("posemamba", "import posemamba"), ("vitpose", "import vitpose")],
)
def test_files_of_other_software_say_what_to_do_with_them(register: Register, origin: str, hint: str) -> None:
    register("https://x.invalid/w", origin=origin)
    with pytest.raises(WeightsError, match="far: a file of other software") as caught:
        load_weights("far")
    assert hint in (caught.value.hint or "")


# Pruning


def test_prune_removes_what_nobody_names_and_nothing_else(server: Any, register: Register, tmp_path: Path) -> None:
    far = register(server.serve("/w", server.whole(FIRST)))
    assert prune_cache() == []  # no folder yet
    fetch_weights("far", patience=HURRIED)
    folder = cache_folder() / "weights"
    (folder / "old-12345678.safetensors").write_bytes(b"123")
    (folder / "old-12345678.safetensors.sha256").write_bytes(b"1")
    (folder / ".old-12345678.safetensors.lock").touch()
    (folder / "far-unpinned.safetensors.part").write_bytes(b"12345")
    (folder / "far-unpinned.safetensors.part.json").write_bytes(b"{}")
    (folder / "busy-1.bin.part").write_bytes(b"being fetched")
    (folder / "a folder").mkdir()
    (tmp_path / "outside").write_text("precious")
    (folder / "link").symlink_to(tmp_path / "outside")
    with locked(folder / ".busy-1.bin.lock"):
        planned = prune_cache(is_dry_run=True)
        assert len(list(folder.iterdir())) == 12
        assert prune_cache() == planned
    assert [(row.path.name, row.num_bytes) for row in planned if row.path.name != "link"] == [
        (".old-12345678.safetensors.lock", 0),
        ("far-unpinned.safetensors.part", 5),
        ("far-unpinned.safetensors.part.json", 2),
        ("old-12345678.safetensors", 3),
        ("old-12345678.safetensors.sha256", 1),
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        ".busy-1.bin.lock",
        ".far-unpinned.safetensors.lock",
        "a folder",
        "busy-1.bin.part",
        "far-unpinned.safetensors",
        "far-unpinned.safetensors.sha256",
    ]
    assert (tmp_path / "outside").read_text() == "precious"
    assert verify_weights(far.name)[0].status == "ok"


# Export


def test_export_copies_and_describes(server: Any, register: Register, tmp_path: Path) -> None:
    far = register(server.serve("/w", server.whole(FIRST)), origin="vitpose", accuracy="so so")
    copy, note = export_weights("far", tmp_path)
    assert (copy, note) == (tmp_path / "far.safetensors", tmp_path / "far.json")
    assert copy.read_bytes() == FIRST
    facts = json.loads(note.read_text())
    assert facts["sha256"] == hashlib.sha256(FIRST).hexdigest()
    assert (facts["num_bytes"], facts["licence"], facts["urls"], facts["accuracy"]) == (
        len(FIRST),
        "MIT",
        list(far.urls),
        "so so",
    )
    with pytest.raises(OutputError, match="exists already"):
        export_weights("far", tmp_path)
    with pytest.raises(WeightsError, match="cannot end in"):
        export_weights("far", tmp_path / "x.json")
    with pytest.raises(WeightsError, match="unknown weights 'near'"):
        export_weights("near", tmp_path)


def test_export_of_our_own_weights_tells_their_config(tmp_path: Path) -> None:
    copy, note = export_weights("glsmamba-s", tmp_path / "mine.safetensors")
    assert copy.read_bytes() == WEIGHTS["glsmamba-s"].path.read_bytes()
    facts = json.loads(note.read_text())
    assert facts["file"] == "mine.safetensors"
    assert facts["config"]["crop_hw"] == [192, 160]


# The public entries


def test_public_entries_are_complete_and_come_encrypted() -> None:
    names = [known.name for known in PUBLIC]
    assert len({*names, *(known.file for known in PUBLIC)}) == 2 * len(names)
    assert {"vitpose-b", "vitpose-h", "posemamba-s", "posemamba-b", "posemamba-l"} <= set(names)
    assert {f"yolo{version}{size}" for version in (11, 26) for size in "nsmlx"} <= set(names)
    for known in PUBLIC:
        assert all(url.startswith("https://") for url in known.urls)
        assert known.accuracy and known.accuracy.endswith(("(authors)", "(authors, of their own file)"))
        assert known.licence == ("AGPL-3.0" if known.origin == "ultralytics" else "Apache-2.0")
        assert not known.is_embedded
    assert len({known.sha256 for known in PUBLIC if known.sha256}) == sum(known.sha256 is not None for known in PUBLIC)


def test_configs_of_public_entries_exist() -> None:
    from posecli.lifting.config import get_lift_config
    from posecli.pose.config import get_pose_config

    for known in PUBLIC:
        if known.origin == "vitpose":
            assert get_pose_config(known.config or "").is_encoder_frozen
        if known.origin == "posemamba":
            assert get_lift_config(known.config or "").d_model


BLOCKED = """
import json, os, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")

class Refused(socket.socket):
    __init__ = refuse

socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refuse
from posecli.cli.app import app

for arguments in json.loads(sys.argv[1]):
    os.environ.pop("POSECLI_OFFLINE", None)
    try:
        app(arguments, prog_name="posecli")
    except SystemExit as done:
        print("CODE", done.code, flush=True)
    except AssertionError as error:
        print("CODE", error, flush=True)
"""


def test_offline_opens_no_socket_and_without_it_one_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path / "home"))
    commands: dict[str, object] = {
        "weights list": 0,
        "weights verify": 0,
        "weights prune": 0,
        "weights fetch glsmamba-s": 0,
        "--offline weights fetch yolo11n": 4,
        "weights path posemamba-s --offline": 4,
        "weights export vitpose-b out.pth --offline": 4,
    }
    online: dict[str, object] = {"weights fetch yolo11n": "a socket was opened"}
    arguments = [command.split() for command in {**commands, **online}]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    codes = [line.removeprefix("CODE ") for line in done.stdout.splitlines() if line.startswith("CODE ")]
    assert codes == [str(code) for code in {**commands, **online}.values()], done.stderr
    assert done.stderr.count("posecli is offline") == 3
