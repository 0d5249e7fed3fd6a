"""The PoseMamba authors' checkpoints (``PoseMamba_S.bin``, ``best_epoch.bin``, ...) to posecli's weights files.

Their files are pickles of ``{epoch, lr, optimizer, model_pos, min_loss}``; ``model_pos`` is the state dict, its names prefixed
``module.``. They are read with ``weights_only``: no code in them ever runs.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from posecli.atomic import check_output
from posecli.errors import ConfigError, WeightsError
from posecli.lifting.checkpoint import save_lifter_network
from posecli.lifting.config import LiftConfig
from posecli.lifting.network import PoseMamba
from posecli.weights.foreign import check_entry, check_tensors, read_pickle, shapes_of, source_facts

LICENCE_NOTE = (
    "The authors' code and weights are tagged Apache-2.0; weights trained on Human3.6M carry the question of that data set's licence, "
    "which is for academic use only."
)
_PREFIX = "module."
_STATE_KEY = "model_pos"
_OF = "PoseMamba"
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
    content = read_pickle(path, of=_OF, stand_ins=_STAND_INS)
    tensors = _state_dict(path, content)
    config = _infer_config(path, tensors)
    _check(path, tensors, config)
    facts = content if _STATE_KEY in content else {}
    metadata = {
        "source": "PoseMamba authors' checkpoint",
        **source_facts(path),
        "licence_note": LICENCE_NOTE,
        "epoch": _number(facts.get("epoch")),
        "min_loss": _number(facts.get("min_loss")),
    }
    return OfficialCheckpoint({name: value.float() for name, value in tensors.items()}, config, metadata)


def _state_dict(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The state dict in the file, prefix removed."""
    state = content.get(_STATE_KEY, content)
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        hint = f"expected a dict with {_STATE_KEY!r}, as the authors' training writes it, or a state dict"
        raise WeightsError(f"{path}: holds no state dict of {_OF}", hint=hint)
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        check_entry(path, name, value)
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
    own = shapes_of(lambda: PoseMamba(config))
    size = f"width {config.d_model} and {2 * config.depth} blocks"
    hint = "width and number of blocks are read off the tensors; is it a checkpoint of this network?"
    check_tensors(path, tensors, own, of=f"a {_OF} of {size}", hint=hint)


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
