"""Several ways to do the same thing, measured in turns: what disturbs one disturbs the others, so ratios hold where times do not."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Milliseconds of each side, a round each."""

    rounds_ms: Mapping[str, tuple[float, ...]]

    def min_ms(self, side: str) -> float:
        """The least of a side: what it costs undisturbed."""
        return min(self.rounds_ms[side])

    def median_ms(self, side: str) -> float:
        """The usual cost of a side on this machine, at this hour."""
        return statistics.median(self.rounds_ms[side])

    def ratio(self, side: str, to: str) -> float:
        """How many times as long ``side`` takes: least against least."""
        return self.min_ms(side) / self.min_ms(to)

    def median_ratio(self, side: str, to: str) -> float:
        """The median of the rounds' own ratios."""
        pairs = zip(self.rounds_ms[side], self.rounds_ms[to], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    def to_json(self) -> dict[str, Any]:
        """Least, median and all rounds of each side, ms."""
        return {
            side: {"min_ms": self.min_ms(side), "median_ms": self.median_ms(side), "rounds_ms": list(rounds)}
            for side, rounds in self.rounds_ms.items()
        }


def compare(sides: Mapping[str, Callable[[], float]], *, rounds: int) -> Comparison:
    """Measure all sides in turns.

    Args:
        sides: Name -> does the work once and returns its milliseconds, however those are counted.
        rounds: Turns that count; one more comes first, to warm up.
    """
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):
        for side, measure in sides.items():
            milliseconds = measure()
            if turn:
                taken[side].append(milliseconds)
    return Comparison({side: tuple(rounds_ms) for side, rounds_ms in taken.items()})
