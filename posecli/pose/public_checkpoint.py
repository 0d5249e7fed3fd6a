"""Public checkpoints of other software, read without running anything in them, and compared with what they should hold."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posecli.download import file_sha256
from posecli.errors import WeightsError
from posecli.weights import save_weights
from posecli.weights.wholeness import is_plain_tensor, refuse_packed

_KIND = "encoder"
_PREFIX = "encoder."
_LISTED = 10
_STATE_KEY = "state_dict"


def read_state(path: Path, *, of: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, which may lie under ``state_dict``.

    Args:
        path: ``.safetensors``, or a pickle, of which no code is run.
        of: Whose checkpoint it should be, for messages.

    Raises:
        WeightsError: There is no such file; it is damaged, holds code, or something that is no tensor.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint file")
    whole = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path, of)
    content: Any = whole.get(_STATE_KEY, whole)
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no state dict of {of}")
    for name, value in content.items():
        if not isinstance(name, str) or not is_plain_tensor(value):
            kind = type(value).__name__
            raise WeightsError(
                f"{path}: entry {name!r} of the state dict is of type {kind}, not a tensor of real numbers"
            )
    return dict(content)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        hint = "fetch the file again and compare its size with the source's"
        raise WeightsError(f"{path}: damaged or cut short: {error}", hint=hint) from error


def _read_pickle(path: Path, of: str) -> Mapping[str, Any]:
    refuse_packed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # remarks about the pickle's protocol
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle fail in any way: KeyError, IndexError, struct.error, ...
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            hint = "posecli runs no code from a checkpoint; take a file that holds tensors only, such as safetensors"
            raise WeightsError(f"{path}: holds code ({found[1]}), refused", hint=hint) from error
        hint = "fetch the file again and compare its size with the source's"
        raise WeightsError(f"{path}: not a PyTorch checkpoint, or a damaged one", hint=hint) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds one value of type {type(content).__name__}, not a checkpoint of {of}")
    return content


def check_names_and_shapes(
    path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, tuple[int, ...]], *, of: str, hint: str | None = None
) -> None:
    """Compare every name and shape with a network's own, and say all differences at once.

    Args:
        path: Named in errors.
        tensors: What was read, renamed.
        own: Shapes by name.
        of: What network it is, for messages.
        hint: What to do about differences.

    Raises:
        WeightsError: Something differs; up to ten tensors of each sort are named.
    """
    differences = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "wrong shape": [
            f"{name} is {tuple(tensors[name].shape)}, not {shape}"
            for name, shape in own.items()
            if name in tensors and tuple(tensors[name].shape) != shape
        ],
    }
    if found := {sort: rows for sort, rows in differences.items() if rows}:
        lines = [f"{path}: does not hold the tensors of {of} ({len(own)} in all)"]
        lines += [f"  {sort} ({len(rows)}): {_listed(rows)}" for sort, rows in found.items()]
        raise WeightsError("\n".join(lines), hint=hint)


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse values that are no finite numbers.

    Raises:
        WeightsError: There are some.
    """
    bad = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
    if bad:
        raise WeightsError(f"{path}: values that are not finite numbers ({len(bad)} tensors): {_listed(bad)}")


def save_encoder(
    out: Path,
    tensors: Mapping[str, Tensor],
    *,
    settings: Mapping[str, Any],
    source: Path,
    metadata: Mapping[str, str],
    overwrite: bool,
) -> dict[str, Tensor]:
    """Write a converted encoder to a weights file.

    Args:
        out: The ``.safetensors`` file.
        tensors: A state dict of the encoder.
        settings: The parts of a `posecli.pose.config.PoseConfig` that say which one.
        source: The public file, whose name and checksum are noted.
        metadata: What else is noted.
        overwrite: Whether ``out`` may be replaced.

    Returns:
        The tensors named as in `posecli.pose.network.PoseNetwork`, so that training can start from the file.

    Raises:
        OutputError: ``out`` exists or cannot be written.
    """
    named = {_PREFIX + name: value for name, value in tensors.items()}
    noted = {"source_file": source.name, "source_sha256": file_sha256(source), **metadata}
    save_weights(out, named, kind=_KIND, config=dict(settings), metadata=noted, overwrite=overwrite)
    return named


def _listed(rows: list[str]) -> str:
    more = f"; and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    return "; ".join(rows[:_LISTED]) + more
