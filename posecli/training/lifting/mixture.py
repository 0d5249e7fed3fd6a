"""Batches of clips from several sources: recorded joints and performing bodies, exact and with an estimator's errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from posecli.training.lifting.bodies import perform
from posecli.training.lifting.clips import LiftClips, batch
from posecli.training.lifting.held_out import HELD_OUT
from posecli.training.lifting.mocap import MotionSequence, read_mocap
from posecli.training.lifting.noise import NoiseModel
from posecli.training.lifting.recipe import MotionData

_NUMBERS = 1 << 40


class ClipMixture:
    """Draws clips; called as `posecli.training.lifting.loop.DrawClips`.

    Args:
        sources: Shares and where such a share of the clips comes from.
    """

    def __init__(self, sources: Sequence[tuple[float, LiftClips]]) -> None:
        self._sources = [clips for share, clips in sources if share > 0]
        shares = np.array([share for share, _ in sources if share > 0])
        self._shares = shares / shares.sum()

    def __call__(self, rng: np.random.Generator, num_clips: int, num_frames: int) -> tuple[Tensor, Tensor]:
        """(B, F, J, 3) x, y and score as the network takes them, and (B, F, J, 3) metres from the root."""
        chosen = rng.choice(len(self._sources), size=num_clips, p=self._shares)
        numbers = rng.integers(_NUMBERS, size=num_clips)
        samples = [self._sources[k].sample(int(n), num_frames) for k, n in zip(chosen, numbers, strict=True)]
        made = batch(samples)
        return torch.from_numpy(made.inputs), torch.from_numpy(made.targets_m)


def load_mixture(data: MotionData, root: Path, *, num_frames: int, seed: int) -> ClipMixture:
    """What a recipe trains on; recordings that are held out are not among it.

    Args:
        data: Which files.
        root: The folder their paths are relative to.
        num_frames: Usual length of a clip.
        seed: Of everything drawn.

    Raises:
        FormatError: A file cannot be read.
    """
    recorded = [sequence for sequence in read_mocap(root / data.mocap).sequences if sequence.name not in HELD_OUT]
    groups = [(data.share, recorded)]
    if data.motions:
        groups.append((1.0 - data.share, perform(root / data.motions, root / data.avatars, seed=seed)))
    return ClipMixture([part for share, group in groups for part in _parts(share, group, data.noise, num_frames, seed)])


def _parts(
    share: float, sequences: Sequence[MotionSequence], noise: float, num_frames: int, seed: int
) -> list[tuple[float, LiftClips]]:
    if share == 0.0:
        return []
    return [
        (share * (1.0 - noise), LiftClips(sequences, num_frames, seed=seed)),
        (share * noise, LiftClips(sequences, num_frames, seed=seed + 1, noise=NoiseModel())),
    ]
