"""The weights that posecli knows: the embedded ones of its manifest, and public ones."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from posecli.atomic import write_atomic
from posecli.download import file_sha256
from posecli.errors import WeightsError
from posecli.weights.entry import WeightsEntry
from posecli.weights.folders import embedded_folder
from posecli.weights.header import read_header
from posecli.weights.public import PUBLIC

MANIFEST_NAME = "manifest.json"
REINSTALL_HINT = "reinstall posecli, or restore the file from the repository"
_MANIFEST_FIELDS = "name kind file sha256 num_bytes licence description skeleton accuracy".split()


class _Registry(Mapping[str, WeightsEntry]):
    """Embedded and public entries by name; the manifest is read at the first look, not at import."""

    @functools.cached_property
    def entries(self) -> dict[str, WeightsEntry]:
        """All of them."""
        every = (*read_manifest(embedded_folder() / MANIFEST_NAME), *PUBLIC)
        return {entry.name: entry for entry in every}

    def __getitem__(self, name: str) -> WeightsEntry:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


WEIGHTS: Mapping[str, WeightsEntry] = _Registry()


def known_entry(name: str) -> WeightsEntry:
    """The entry of that name.

    Raises:
        WeightsError: There is none.
    """
    if name not in WEIGHTS:
        raise WeightsError(f"unknown weights {name!r}", hint=known_names())
    return WEIGHTS[name]


def known_names() -> str:
    """A hint for those who misspelt one: the names that can be loaded as they are."""
    names = [entry.name for entry in WEIGHTS.values() if entry.origin == "posecli"]
    others = "" if len(names) == len(WEIGHTS) else ", more with: posecli weights list"
    return f"known names: {', '.join(names) or 'none'}{others}; or give the path of a .safetensors file"


def read_manifest(path: Path) -> list[WeightsEntry]:
    """Read a ``manifest.json``.

    Args:
        path: The manifest.

    Returns:
        Its entries, in file order.

    Raises:
        WeightsError: The manifest is missing or malformed.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["weights"]
        return [WeightsEntry(**row) for row in rows]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}", hint=REINSTALL_HINT) from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: not a weights manifest: {error}", hint=REINSTALL_HINT) from error


def register_weights(
    path: Path,
    *,
    name: str,
    description: str,
    licence: str = "Apache-2.0",
    skeleton: str | None = None,
    accuracy: str | None = None,
) -> WeightsEntry:
    """Enter a weights file into the ``manifest.json`` beside it, replacing an entry of the same name.

    Args:
        path: A file written by `posecli.weights.save_weights`.
        name: The name users will say.
        description: One line.
        licence: SPDX identifier of the weights' licence.
        skeleton: Name of the skeleton the network predicts, if any.
        accuracy: One line on how accurate it is; never taken over from an entry that is replaced.

    Returns:
        The new entry.

    Raises:
        WeightsError: The file or the manifest is malformed.
        OutputError: The manifest cannot be written.
    """
    entry = WeightsEntry(
        name=name,
        kind=read_header(path).kind,
        file=path.name,
        sha256=file_sha256(path),
        num_bytes=path.stat().st_size,
        licence=licence,
        description=description,
        skeleton=skeleton,
        accuracy=accuracy,
    )
    manifest = path.parent / MANIFEST_NAME
    kept = [old for old in read_manifest(manifest) if old.name != name] if manifest.exists() else []
    rows = [
        {field: getattr(row, field) for field in _MANIFEST_FIELDS}
        for row in sorted([*kept, entry], key=lambda row: row.name)
    ]
    write_atomic(manifest, (json.dumps({"weights": rows}, indent=2) + "\n").encode(), overwrite=True)
    return entry
