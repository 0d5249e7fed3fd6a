"""What a weights file says about itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from posecli.errors import WeightsError

METADATA_KEY = "posecli"


@dataclass(frozen=True, slots=True)
class WeightsHeader:
    """What a weights file says about itself, readable without torch."""

    kind: str
    config: dict[str, Any]
    metadata: dict[str, Any]


def read_header(path: Path) -> WeightsHeader:
    """Read what a weights file says about itself, without its tensors and without torch.

    Args:
        path: The file.

    Returns:
        Kind, network configuration and further facts.

    Raises:
        WeightsError: The file is not safetensors, is cut short, or was not written by posecli.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            text = (stream.metadata() or {}).get(METADATA_KEY)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, str(error)) from error
    if text is None:
        hint = "checkpoints of other software have to be converted first: posecli weights import"
        raise WeightsError(f"{path}: safetensors, but without posecli's configuration", hint=hint)
    try:
        header = json.loads(text)
        facts = {field.name: header[field.name] for field in fields(WeightsHeader)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, f"configuration cannot be read: {error}") from error
    if [type(value) for value in facts.values()] != [str, dict, dict]:
        raise _damaged(path, "configuration is not of posecli's form")
    return WeightsHeader(**facts)


def _damaged(path: Path, what: str) -> WeightsError:
    return WeightsError(f"{path}: weights file cannot be read: {what}", hint="replace the file; it is damaged")
