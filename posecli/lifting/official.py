"""The PoseMamba authors' checkpoints (``PoseMamba_S.bin``, ``best_epoch.bin``, ...) to posecli's weights files.

Their files are pickles of ``{epoch, lr, optimizer, model_pos, min_loss}``; ``model_pos`` is the state dict, its names prefixed
``module.``. They are read with ``weights_only``: no code in them ever runs.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posecli.atomic import check_output
from posecli.download import file_sha256
from posecli.errors import ConfigError, WeightsError
from posecli.lifting.checkpoint import save_lifter_network
from posecli.lifting.config import LiftConfig
from posecli.lifting.network import PoseMamba
from posecli.weights.wholeness import is_plain_tensor, refuse_packed

LICENCE_NOTE = (
    "The authors' code and weights are tagged Apache-2.0; weights trained on Human3.6M carry the question of that data set's licence, "
    "which is for academic use only."
)
_PREFIX = "module."
_STATE_KEY = "model_pos"
_LISTED = 10
# Tensors whose last axis is C. The most frequent answer counts, so that one wrong tensor does not make all others wrong.
_WITNESSES_OF_WIDTH = (
    "Spatial_pos_embed",
    "Temporal_pos_embed",
    "Spatial_patch_to_embedding.bias",
    "Spatial_norm.weight",
    "Temporal_norm.weight",
    "head.0.weight",
)
# thop, with which the authors count operations, leaves these behind in a state dict; they are no part of the network.
_LEFT_BY_THOP = ("total_ops", "total_params")


@dataclass(frozen=True, slots=True)
class OfficialCheckpoint:
    """A checkpoint of the authors, checked: ``tensors`` are those of `PoseMamba` for ``config``, 32-bit, without prefix."""

    tensors: dict[str, Tensor]
    config: LiftConfig
    metadata: dict[str, Any]


def import_posemamba(path: Path, out: Path, *, overwrite: bool = False) -> OfficialCheckpoint:
    """Convert a checkpoint of the authors to a weights file that `posecli.lifting.checkpoint.load_lifter_network` reads.

    Args:
        path: The authors' file.
        out: The ``.safetensors`` file to write.
        overwrite: Whether ``out`` may be replaced.

    Returns:
        What was read and written.

    Raises:
        WeightsError: See `read_posemamba`.
        OutputError: ``out`` exists or cannot be written.
    """
    check_output(out, overwrite=overwrite)
    checkpoint = read_posemamba(path)
    save_lifter_network(out, checkpoint.tensors, checkpoint.config, metadata=checkpoint.metadata, overwrite=overwrite)
    return checkpoint


def read_posemamba(path: Path) -> OfficialCheckpoint:
    """Read a checkpoint of the authors: width, depth and length are inferred, every name and shape is checked.

    Args:
        path: Their file, or a bare state dict saved with ``torch.save``, with or without the prefix ``module.``.

    Returns:
        The tensors, the config of a network of their size with the authors' gradient and normalisation, and where they come from.

    Raises:
        WeightsError: There is no such file; it is damaged, holds code, or holds something else than this network. Every tensor that
            differs is named, up to ten of each sort.
    """
    content = _load(path)
    tensors = _state_dict(path, content)
    config = _infer_config(path, tensors)
    _check(path, tensors, config)
    facts = content if _STATE_KEY in content else {}
    metadata = {
        "source": "PoseMamba authors' checkpoint",
        "source_file": path.name,
        "source_sha256": file_sha256(path),
        "licence_note": LICENCE_NOTE,
        "epoch": _number(facts.get("epoch")),
        "min_loss": _number(facts.get("min_loss")),
    }
    return OfficialCheckpoint({name: value.float() for name, value in tensors.items()}, config, metadata)


def _load(path: Path) -> Mapping[Any, Any]:
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint file")
    refuse_packed(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_STAND_INS):
            warnings.simplefilter("ignore", UserWarning)  # remarks about the pickle's protocol
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle fail in any way: KeyError, IndexError, struct.error, ...
        raise _unreadable(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds one value of type {type(content).__name__}, not a PoseMamba checkpoint")
    return content


def _unreadable(path: Path, error: Exception) -> WeightsError:
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        hint = "posecli runs no code from a checkpoint; ask its maker for a file that holds tensors only"
        return WeightsError(f"{path}: holds code ({found[1]}), refused", hint=hint)
    with path.open("rb") as stream:
        is_archive = stream.read(2) == b"PK"
    what = "damaged or cut short" if is_archive else "not a PyTorch checkpoint, or a damaged one"
    return WeightsError(f"{path}: {what}", hint="fetch the file again and compare its size with the source's")


def _state_dict(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The state dict in the file, prefix removed."""
    state = content.get(_STATE_KEY, content)
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        hint = f"expected a dict with {_STATE_KEY!r}, as the authors' training writes it, or a state dict"
        raise WeightsError(f"{path}: holds no state dict of PoseMamba", hint=hint)
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not is_plain_tensor(value):
            kind = type(value).__name__
            raise WeightsError(
                f"{path}: entry {name!r} of the state dict is of type {kind}, not a tensor of real numbers"
            )
        if name.rpartition(".")[2] in _LEFT_BY_THOP:
            continue
        short = name.removeprefix(_PREFIX)
        # Both spellings at once: the longer one stays as it is, to be told as unexpected.
        tensors[name if short in state else short] = value
    return tensors


def _infer_config(path: Path, tensors: Mapping[str, Tensor]) -> LiftConfig:
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    widths = Counter(shapes[name][-1] for name in _WITNESSES_OF_WIDTH if shapes.get(name))
    blocks = {int(found[1]) for name in shapes if (found := re.match(r"(?:STE|TTE)blocks\.(\d+)\.", name))}
    if not widths or not blocks:
        raise WeightsError(f"{path}: holds no PoseMamba: none of its tensors has a name of that network")
    times = shapes.get("Temporal_pos_embed", ())
    embedding = shapes.get("Spatial_patch_to_embedding.weight", ())
    try:
        return LiftConfig(
            d_model=widths.most_common(1)[0][0],
            depth=len(blocks),
            in_channels=3 if embedding[1:] == (3,) else 2,
            max_frames=times[1] if len(times) == 3 else LiftConfig.max_frames,
            drop_path=0.2,
            match_official_gradient=True,
            normalisation="image",
        )
    except ConfigError as error:
        raise WeightsError(f"{path}: not a PoseMamba that posecli can run: {error.message}", hint=error.hint) from error


def _check(path: Path, tensors: Mapping[str, Tensor], config: LiftConfig) -> None:
    """Compare every name and shape with the network's own, and say all differences at once."""
    with torch.device("meta"):
        own = {name: tuple(value.shape) for name, value in PoseMamba(config).state_dict().items()}
    common = [name for name in own if name in tensors]
    differences = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "wrong shape": [
            f"{name} is {tuple(tensors[name].shape)}, not {own[name]}"
            for name in common
            if tuple(tensors[name].shape) != own[name]
        ],
        "not real numbers": [name for name in common if not tensors[name].is_floating_point()],
        "not finite": [name for name in common if not bool(tensors[name].isfinite().all())],
    }
    if found := {sort: rows for sort, rows in differences.items() if rows}:
        size = f"width {config.d_model} and {2 * config.depth} blocks"
        lines = [f"{path}: does not hold the tensors of a PoseMamba of {size} ({len(own)} in all)"]
        lines += [f"  {sort} ({len(rows)}): {_listed(rows)}" for sort, rows in found.items()]
        hint = "width and number of blocks are read off the tensors; is it a checkpoint of this network?"
        raise WeightsError("\n".join(lines), hint=hint)


def _listed(rows: list[str]) -> str:
    more = f"; and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    return "; ".join(rows[:_LISTED]) + more


def _number(value: object) -> float | int | None:
    """What JSON can say of a number in the file."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None  # type: ignore[return-value]


_STRUCT_LETTERS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i"}


class _NumberType:
    """Stands in for NumPy's dtype, see `_STAND_INS`."""

    def __init__(self, code: str, *_: object) -> None:
        self.letter, self.order = _STRUCT_LETTERS[code], "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


def _unpack(kind: _NumberType, data: bytes) -> float | int:
    """Stands in for NumPy's scalar, see `_STAND_INS`."""
    number: float | int = struct.unpack(kind.order + kind.letter, data)[0]
    return number


# The authors' min_loss is a mean that NumPy computed, so their pickles name two of its functions. These read such a number without
# letting the file talk to NumPy's own unpickling; nothing else is allowed beyond torch's list.
_STAND_INS: list[Any] = [
    (_unpack, "numpy.core.multiarray.scalar"),
    (_unpack, "numpy._core.multiarray.scalar"),
    (_NumberType, "numpy.dtype"),
]
