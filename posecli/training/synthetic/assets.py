"""What scenes are made of, read when first needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from posecli.errors import ConfigError, FormatError
from posecli.training.synthetic.avatar import Avatar, read_avatar
from posecli.training.synthetic.lighting import Environment, read_environment
from posecli.training.synthetic.motion import MotionClip, read_motions
from posecli.training.synthetic.photographs import Photographs, find_photographs
from posecli.training.synthetic.split import TEST_AVATARS, TEST_ENVIRONMENTS, TEST_MOTIONS, choose_split


@dataclass(frozen=True, slots=True)
class AssetPaths:
    """Where things are.

    Attributes:
        avatars: Folder of ``.npz`` files, see `posecli.training.synthetic.avatar.read_avatar`.
        motions: ``.npz`` file, see `posecli.training.synthetic.motion.read_motions`.
        environments: Folder of panoramas (``.jpg``).
        photographs: COCO-style files with boxes of all people, pictures in ``images`` beside them.
        photographs_leave_out: Picture ids divisible by it are held out; 0 leaves out none.
        split: ``train`` or ``test``.
    """

    avatars: Path
    motions: Path
    environments: Path
    photographs: tuple[Path, ...] = ()
    photographs_leave_out: int = 0
    split: str = "train"


@dataclass(slots=True)
class Assets:
    """Things to draw from."""

    avatar_paths: list[Path]
    clips: list[MotionClip]
    environment_paths: list[Path]
    photographs: Photographs
    _avatars: dict[Path, Avatar] = field(default_factory=dict)
    _environments: dict[Path, Environment] = field(default_factory=dict)

    def avatar(self, rng: np.random.Generator) -> Avatar:
        """Any of them."""
        path = self.avatar_paths[int(rng.integers(len(self.avatar_paths)))]
        if path not in self._avatars:
            self._avatars[path] = read_avatar(path)
        return self._avatars[path]

    def clip(self, rng: np.random.Generator) -> MotionClip:
        """Any of them; the many recordings of plain walking come less often than their number would make them."""
        for _ in range(2):
            clip = self.clips[int(rng.integers(len(self.clips)))]
            if "walking" not in clip.name:
                break
        return clip

    def environment(self, rng: np.random.Generator) -> Environment:
        """Any of them."""
        path = self.environment_paths[int(rng.integers(len(self.environment_paths)))]
        if path not in self._environments:
            self._environments[path] = read_environment(path)
        return self._environments[path]


def open_assets(paths: AssetPaths) -> Assets:
    """Find what there is.

    Raises:
        FormatError: A folder holds nothing of the kind, or a file cannot be read.
        ConfigError: Nothing is left of the split.
    """
    avatars = _list(paths.avatars, "*.npz")
    environments = _list(paths.environments, "*.jpg")
    clips: Sequence[MotionClip] = read_motions(paths.motions)
    if not clips:
        raise ConfigError(f"{paths.motions}: no motion is long enough")
    return Assets(
        choose_split(((p.stem, p) for p in avatars), TEST_AVATARS, paths.split, what="avatar"),
        choose_split(((c.name, c) for c in clips), TEST_MOTIONS, paths.split, what="motion"),
        choose_split(((p.stem, p) for p in environments), TEST_ENVIRONMENTS, paths.split, what="environment"),
        find_photographs(paths.photographs, leave_out_modulo=paths.photographs_leave_out),
    )


def _list(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FormatError(f"{folder}: no {pattern} in it")
    return found


def describe(paths: AssetPaths) -> dict[str, Any]:
    """For the record: names, not places."""
    return {
        "split": paths.split,
        "motions": paths.motions.name,
        "photographs": [f"{path.parent.name}/{path.name}" for path in paths.photographs],
        "photographs_leave_out": paths.photographs_leave_out,
    }
