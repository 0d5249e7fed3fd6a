"""Reading and writing weights files with their tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posecli.atomic import atomic_path
from posecli.download import ByteProgress, file_sha256
from posecli.errors import WeightsError
from posecli.weights.cache import resolve_weights
from posecli.weights.header import METADATA_KEY, WeightsHeader, read_header
from posecli.weights.registry import REINSTALL_HINT, WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LoadedWeights", "WeightsHeader", "load_weights", "read_header", "save_weights"]


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """A weights file in memory. ``sha256`` is that of the file just read; tensors are on the CPU."""

    name: str
    path: Path
    sha256: str
    kind: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def load_weights(name_or_path: str | Path, *, progress: ByteProgress | None = None) -> LoadedWeights:
    """Read a weights file whole, after checking that it is what the registry says.

    Args:
        name_or_path: A registered name, or the path of a file written by `save_weights`.
        progress: Called during a download.

    Returns:
        The tensors with their configuration.

    Raises:
        WeightsError: See `posecli.weights.resolve_weights`; also when the file is corrupt or was not written by posecli.
    """
    entry = WEIGHTS.get(str(name_or_path))
    if entry is not None and entry.origin != "posecli":
        raise WeightsError(f"{entry.name}: a file of other software", hint=entry.how_to_use)
    path = resolve_weights(name_or_path, progress=progress)
    sha256 = file_sha256(path)
    if entry is not None and sha256 != (expected := entry.expected_sha256()):
        hint = REINSTALL_HINT if entry.is_embedded else f"run: posecli weights fetch {entry.name}"
        what = f"checksum is {sha256[:12]}..., expected {str(expected)[:12]}..."
        raise WeightsError(f"{path}: weights file is damaged: {what}", hint=hint)
    header = read_header(path)
    from safetensors.torch import load_file

    tensors = load_file(path)
    if bad := [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]:
        hint = "training has gone wrong, or the file is damaged"
        raise WeightsError(f"{path}: numbers that are not finite in {len(bad)} tensors, such as {bad[0]}", hint=hint)
    return LoadedWeights(
        name=str(name_or_path) if entry is not None else path.stem,
        path=path,
        sha256=sha256,
        kind=header.kind,
        config=header.config,
        tensors=tensors,
        metadata=header.metadata,
    )


def save_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> str:
    """Write a weights file; the same tensors and words give the same bytes.

    Args:
        path: The file, ending in ``.safetensors``.
        tensors: Names and values, on any device.
        kind: Which network reads it.
        config: What rebuilds that network; must be JSON.
        metadata: Further facts (training, scores); must be JSON.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The file's SHA-256.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    from safetensors.torch import save_file

    header = {"kind": kind, "config": dict(config), "metadata": dict(metadata or {})}
    # Clones: safetensors refuses tensors that share memory, and views would drag their whole storage along.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path, overwrite=overwrite) as temporary:
        save_file(plain, temporary, metadata={METADATA_KEY: json.dumps(header, sort_keys=True)})
    return file_sha256(path)
