"""The state of a training run on disk, for going on where it stopped; the same for every kind of training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from posecli.atomic import atomic_path
from posecli.errors import ConfigError

FILE_NAME = "checkpoint.pt"


def recipe_fingerprint(recipe: Any) -> str:
    """What tells one recipe (a dataclass) from another: every field of it."""
    return json.dumps(asdict(recipe), sort_keys=True)


def write_checkpoint(path: Path, state: Mapping[str, Any], *, fingerprint: str) -> None:
    """Write a run's state, whole or not at all.

    Args:
        path: Replaced if it exists.
        state: Tensors, numbers and containers of them.
        fingerprint: Of the run's recipe.
    """
    with atomic_path(path, overwrite=True) as temporary:
        torch.save({"recipe": fingerprint, **state}, temporary)


def read_checkpoint(path: Path, *, fingerprint: str, device: torch.device) -> dict[str, Any]:
    """Read a run's state.

    Args:
        path: As `write_checkpoint` wrote it.
        fingerprint: Of the recipe that wants to go on.
        device: Where its tensors go.

    Raises:
        ConfigError: The checkpoint belongs to another recipe.
    """
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state["recipe"] != fingerprint:
        raise ConfigError(f"{path}: belongs to another recipe", hint="choose another folder, or remove the checkpoint")
    return state
