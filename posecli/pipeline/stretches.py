"""A long video in stretches that different workers can go through at the same time.

Stretches follow the windows of the whole video, so that a window holds the same frames whoever looks at it. Each begins some time
before its seam: by the time it gets there, its tracker knows who is there and how they move, as if it had seen all that came before.
Up to the seam, what counts is the stretch before.
"""

from __future__ import annotations

from dataclasses import dataclass

from posecli.errors import ConfigError
from posecli.pose.windows import WindowPlan

# A claim of centuries in a header must not become a million stretches.
_MAX_STRETCHES = 200
_MIN_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """Windows ``start`` to ``stop`` (exclusive; ``None``: to the end) of a video; what is found counts from window ``seam`` on."""

    start: int
    seam: int
    stop: int | None


@dataclass(frozen=True, slots=True)
class SplitConfig:
    """When a video is long, and how it is split.

    Attributes:
        max_minutes: Longer videos are split into stretches of about this length, all equal.
        overlap_s: How long before its seam a stretch begins; where the detector looks rarely, it is longer. The tracker forgets how it
            began within about a second (e-fold; the width of people, slowest): after 10 s keypoints were equal to the last digit.

    Raises:
        ConfigError: That is no length.
    """

    max_minutes: float = 10.0
    overlap_s: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.max_minutes < float("inf"):
            raise ConfigError(f"split-minutes is {self.max_minutes:g}, it must be above 0", hint="0: do not split")
        if not 0 <= self.overlap_s < float("inf"):
            raise ConfigError(f"overlap is {self.overlap_s:g} s, it must not be negative")


def plan_stretches(
    num_frames: int, fps: float, plan: WindowPlan, *, look_every: int, config: SplitConfig
) -> tuple[Stretch, ...]:
    """Split a video.

    Args:
        num_frames: Of the video, as its header says: the last stretch goes on to the end wherever that is.
        fps: Frames a second.
        plan: The windows.
        look_every: The detector looks at every so manieth window.
        config: How.

    Returns:
        The stretches in order; empty where the video is not long. Seams are windows that the detector looks at.
    """
    max_frames = config.max_minutes * 60.0 * fps
    if num_frames <= max_frames:
        return ()
    count = min(_MAX_STRETCHES, _ceil(num_frames, max_frames))
    length = _ceil(num_frames, count * plan.hop * look_every) * look_every
    overlap = max(_MIN_LOOKS, _ceil(config.overlap_s * fps, plan.hop * look_every)) * look_every
    seams = [k * length for k in range(count) if k * length * plan.hop < num_frames]
    if len(seams) < 2:
        return ()
    # poses of a frame are certain when the last window that reaches back to it is done
    tail = _ceil(plan.num_before, plan.hop)
    stops: list[int | None] = [seam + tail for seam in seams[1:]]
    return tuple(Stretch(max(0, seam - overlap), seam, stop) for seam, stop in zip(seams, [*stops, None], strict=True))


def _ceil(numerator: float, denominator: float) -> int:
    return int(-(-numerator // denominator))
