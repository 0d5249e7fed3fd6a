"""How long a download waits, and how often it tries again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds for one download; a server may be as slow as it likes as long as bytes come.

    Attributes:
        silence_s: How long a server may stay silent before the connection counts as broken.
        attempts: Failures in a row, without getting further, before an address is given up.
        pause_s: The first pause after a failure; each one in a row doubles it.
        max_pause_s: The longest pause of our own choosing.
        max_retry_after_s: The longest pause that a server's ``Retry-After`` can ask for.
        progress_bytes: A failure that came this much further than ever before starts the count of failures anew.
        seed: Of the jitter, which keeps many machines from coming back in the same instant; ``None`` differs each time.
        sleep: What waits.
    """

    silence_s: float = 30.0
    attempts: int = 5
    pause_s: float = 1.0
    max_pause_s: float = 30.0
    max_retry_after_s: float = 120.0
    progress_bytes: int = 1 << 20
    seed: int | None = None
    sleep: Callable[[float], None] = time.sleep

    def pause(self, num_failures: int, retry_after_s: float | None, rng: random.Random) -> float:
        """How long to wait after so many failures in a row, seconds."""
        own = min(self.pause_s * 2.0 ** (num_failures - 1), self.max_pause_s) * rng.uniform(0.5, 1.0)
        return own if retry_after_s is None else max(own, min(retry_after_s, self.max_retry_after_s))
