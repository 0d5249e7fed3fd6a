"""Where samples come from: sets of people that a batch draws on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from posecli.errors import ConfigError
from posecli.training.recipe import RenderedConfig
from posecli.training.sample import Sample
from posecli.training.synthetic.shards import RenderedWindows


class People(Protocol):
    """A set of people."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def draw(self, rng: np.random.Generator, num_frames: int) -> Sample:
        """A random one: a still, or that many consecutive frames."""
        ...


class Stills:
    """People in stills, held in memory."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def draw(self, rng: np.random.Generator, num_frames: int) -> Sample:
        """A random still; ``num_frames`` is of no concern."""
        return self._samples[int(rng.integers(len(self._samples)))]


class Rendered:
    """People in rendered windows, read from disk when drawn.

    Args:
        config: Which.
        root: The folder its path is relative to.

    Raises:
        FormatError: The folder holds no windows.
        ConfigError: It holds fewer than the recipe wants.
    """

    def __init__(self, config: RenderedConfig, root: Path) -> None:
        self._windows = RenderedWindows(root / config.folder)
        self._count = config.count or len(self._windows)
        if self._count > len(self._windows):
            raise ConfigError(
                f"{root / config.folder}: {len(self._windows)} windows, the recipe wants {config.count}",
                hint="render more with posecli synth windows",
            )

    def __len__(self) -> int:
        return self._count

    def draw(self, rng: np.random.Generator, num_frames: int) -> Sample:
        """A random stretch of a random window.

        Hidden points count as labelled, as annotators do; points outside the picture do not.

        Raises:
            ConfigError: The windows are shorter.
        """
        spare = self._windows.num_frames - num_frames
        if spare < 0:
            raise ConfigError(
                f"a stage of {num_frames} frames cannot be trained on windows of {self._windows.num_frames}"
            )
        start = int(rng.integers(spare + 1))
        window = self._windows.read(int(rng.integers(self._count)), frames=range(start, start + num_frames))
        return Sample(tuple(window.images), window.boxes, window.keypoints, window.visibility > 0)
