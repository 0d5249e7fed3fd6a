"""Copies of weights files to take elsewhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posecli.atomic import atomic_path, check_output, write_atomic
from posecli.download import ByteProgress, file_sha256
from posecli.errors import WeightsError
from posecli.weights.cache import fetch_weights
from posecli.weights.header import read_header
from posecli.weights.registry import known_entry


def export_weights(
    name: str, out: Path, *, overwrite: bool = False, progress: ByteProgress | None = None
) -> tuple[Path, Path]:
    """Copy a registered file, verified, and describe it in a JSON beside the copy.

    Args:
        name: A registered name; fetched if need be.
        out: The file to write, or an existing folder to write it in.
        overwrite: Whether existing files may be replaced.
        progress: Called during a download.

    Returns:
        The copy, and the JSON with its origin, checksum, licence and configuration.

    Raises:
        WeightsError: The name is unknown, or the file cannot be fetched or is damaged.
        OutputError: An output exists or cannot be written.
    """
    entry = known_entry(name)
    copy = out / entry.file if out.is_dir() else out
    note = copy.with_suffix(".json")
    if note == copy:
        raise WeightsError(f"{copy}: a weights file cannot end in .json", hint=f"for example {entry.file}")
    for path in (copy, note):
        check_output(path, overwrite=overwrite)
    source = fetch_weights(entry, progress=progress)
    with atomic_path(copy, overwrite=overwrite) as temporary:
        shutil.copyfile(source, temporary)
        sha256 = file_sha256(temporary)
        if sha256 != entry.expected_sha256():
            raise WeightsError(f"{source}: changed while it was copied", hint="try again")
    facts: dict[str, Any] = asdict(entry) | {"file": copy.name, "sha256": sha256, "num_bytes": copy.stat().st_size}
    if entry.origin == "posecli":
        header = read_header(copy)
        facts |= {"config": header.config, "metadata": header.metadata}
    facts = {key: value for key, value in facts.items() if key != "max_bytes"}
    write_atomic(note, (json.dumps(facts, indent=2, sort_keys=True) + "\n").encode(), overwrite=overwrite)
    return copy, note
