"""Public checkpoints of other software, read without running anything in them, and compared with what they should hold."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecli.download import file_sha256
from posecli.errors import WeightsError
from posecli.weights import save_weights
from posecli.weights.wholeness import is_plain_tensor, refuse_packed

_KIND = "encoder"
_PREFIX = "encoder."
_LISTED = 10
_STATE_KEY = "state_dict"
_COUNTER = "num_batches_tracked"
_FETCH_AGAIN = "fetch the file again and compare its size with the source's"


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
    whole = _read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path, of=of)
    content: Any = whole.get(_STATE_KEY, whole)
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no state dict of {of}")
    for name, value in content.items():
        check_entry(path, name, value)
    return dict(content)


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: damaged or cut short: {error}", hint=_FETCH_AGAIN) from error


def read_pickle(path: Path, *, of: str, stand_ins: Sequence[Any] = ()) -> Mapping[Any, Any]:
    """The mapping in a pickle, of which no code is run.

    Args:
        path: The file.
        of: Whose checkpoint it should be, for messages.
        stand_ins: What may be called beyond torch's own list, as `torch.serialization.safe_globals` takes it.

    Raises:
        WeightsError: There is no such file; it is damaged, holds code, or something else than a mapping.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint file")
    refuse_packed(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(stand_ins)):
            warnings.simplefilter("ignore", UserWarning)  # remarks about the pickle's protocol
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle fail in any way: KeyError, IndexError, struct.error, ...
        raise _unreadable(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds one value of type {type(content).__name__}, not a {of} checkpoint")
    return content


def _unreadable(path: Path, error: Exception) -> WeightsError:
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        hint = "posecli runs no code from a checkpoint; take a file that holds tensors only, such as safetensors"
        return WeightsError(f"{path}: holds code ({found[1]}), refused", hint=hint)
    with path.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
    what = "damaged or cut short" if is_archive else "not a PyTorch checkpoint, or a damaged one"
    return WeightsError(f"{path}: {what}", hint=_FETCH_AGAIN)


def check_entry(path: Path, name: object, value: object) -> None:
    """Refuse what is no tensor of real numbers with a name.

    Raises:
        WeightsError: It is none.
    """
    if not isinstance(name, str) or not is_plain_tensor(value):
        kind = type(value).__name__
        raise WeightsError(f"{path}: entry {name!r} of the state dict is of type {kind}, not a tensor of real numbers")


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's tensors by name; none of its values is made."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build().state_dict().items()}


def check_tensors(
    path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, tuple[int, ...]], *, of: str, hint: str | None = None
) -> None:
    """Compare every name and shape with a network's own, look at every value, and say all differences at once.

    Args:
        path: Named in errors.
        tensors: What was read, renamed.
        own: Shapes by name.
        of: What network it is, for messages.
        hint: What to do about differences.

    Raises:
        WeightsError: Something differs; up to ten tensors of each sort are named.
    """
    common = [name for name in own if name in tensors]
    differences = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "wrong shape": [
            f"{name} is {tuple(tensors[name].shape)}, not {own[name]}"
            for name in common
            if tuple(tensors[name].shape) != own[name]
        ],
        "not real numbers": [
            name for name in common if not tensors[name].is_floating_point() and not name.endswith(_COUNTER)
        ],
        "not finite": [name for name in common if not _is_finite(tensors[name])],
    }
    if found := {sort: rows for sort, rows in differences.items() if rows}:
        lines = [f"{path}: does not hold the tensors of {of} ({len(own)} in all)"]
        lines += [f"  {sort} ({len(rows)}): {_listed(rows)}" for sort, rows in found.items()]
        raise WeightsError("\n".join(lines), hint=hint)


def _is_finite(value: Tensor) -> bool:
    return value.is_meta or bool(value.isfinite().all())  # one without values has no wrong ones


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
    noted = {**source_facts(source), **metadata}
    save_weights(out, named, kind=_KIND, config=dict(settings), metadata=noted, overwrite=overwrite)
    return named


def source_facts(path: Path) -> dict[str, str]:
    """What a weights file notes of the public file that it was made of: its name and checksum."""
    return {"source_file": path.name, "source_sha256": file_sha256(path)}


def _listed(rows: list[str]) -> str:
    more = f"; and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    return "; ".join(rows[:_LISTED]) + more
