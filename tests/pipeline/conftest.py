"""Real parts, small: a drawn video of moving squares, a detector that knows where they are, a tiny network at random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from posecli.people.tracker_config import TrackerConfig
from posecli.pipeline import models as models_module
from posecli.pipeline.settings import AnnotateSettings
from posecli.records import Detections, Frame

SIZE = (96, 64)


def square_box(person: int, index: int) -> np.ndarray:
    """(4,) xyxy: person 0 walks right, person 1 walks left further down; both keep their size."""
    x = 5.0 + 0.5 * index if person == 0 else 80.0 - 0.5 * index
    y = 4.0 if person == 0 else 34.0
    return np.array([x, y, x + 12.0, y + 26.0], np.float32)


class ScriptedDetector:
    """Sees both squares, unless the script says that somebody is away."""

    name = "scripted"

    def __init__(self, is_present: Callable[[int, int], bool]) -> None:
        self._is_present = is_present

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes as drawn."""
        found = []
        for frame in frames:
            boxes = [square_box(p, frame.index) for p in (0, 1) if self._is_present(p, frame.index)]
            found.append(
                Detections(
                    frame.index, np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32)
                )
            )
        return found


@pytest.fixture
def settings(tiny_weights: Path) -> AnnotateSettings:
    """Random poses must not decide who is who."""
    from posecli.people.tracks import StitchConfig

    return AnnotateSettings(
        weights=str(tiny_weights),
        head_weights=None,
        tracker=TrackerConfig(duplicate_oks=1.0, duplicate_iou=1.0),
        stitch=StitchConfig(min_score=0.0, duplicate_oks=1.0, min_backing_score=0.0),
    )


@pytest.fixture
def detect_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], bool]], None]:
    """Put a scripted detector in the place of the embedded one."""

    def install(is_present: Callable[[int, int], bool]) -> None:
        monkeypatch.setattr(models_module, "load_detector", lambda settings: ScriptedDetector(is_present))

    return install
