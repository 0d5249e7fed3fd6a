"""What the size of the picture costs: decoding, detection, cropping."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posecli.benchmark.clip import read_frames, scaled, write_clip
from posecli.benchmark.clock import Clock, Effort
from posecli.benchmark.rehearsal import Rehearsal
from posecli.people.detector import Detector
from posecli.pose.crops import cut_window, window_transform


@dataclass(frozen=True, slots=True)
class ResolutionRow:
    """The same clip in another size; decoding per frame, detection per frame looked at, cropping per person-frame."""

    height_px: int
    width_px: int
    decode_ms: float
    detect_ms_per_look: float
    crop_ms: float


def time_resolutions(
    rehearsal: Rehearsal,
    detector: Detector,
    crop_hw: tuple[int, int],
    *,
    heights_px: tuple[int, ...],
    clock: Clock,
    effort: Effort,
    num_threads: int,
    folder: Path,
) -> tuple[ResolutionRow, ...]:
    """Write the clip in each size into ``folder`` and measure; people keep their share of the picture."""
    rows = []
    for height in heights_px:
        pictures = scaled(rehearsal.frames[: max(1, effort.num_frames // 2)], height)
        path = write_clip(folder / f"{height}p.mp4", pictures)
        frames = read_frames(path, len(pictures))
        chunk, scale = rehearsal.busiest(), height / rehearsal.frames[0].image.shape[0]
        images = [frames[min(t, len(frames) - 1)].image for t in range(len(chunk.window))]
        crop = window_transform(np.asarray(chunk.boxes[0] * scale, np.float32), crop_hw)
        rows.append(
            ResolutionRow(
                height,
                pictures[0].shape[1],
                clock.least_ms(lambda: read_frames(path, len(frames), num_threads=num_threads), effort) / len(frames),  # noqa: B023
                clock.least_ms(lambda: detector.detect(frames[:1]), effort),  # noqa: B023
                clock.least_ms(lambda: cut_window(images, crop), effort) / len(images),  # noqa: B023
            )
        )
        path.unlink()
    return tuple(rows)
