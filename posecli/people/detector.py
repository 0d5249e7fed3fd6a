"""Detectors: what finds the people in a frame, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from posecli.defaults import DETECTOR_WEIGHTS
from posecli.errors import ConfigError
from posecli.records import Detections, Frame

DETECTORS: Mapping[str, str] = {
    "embedded": "PersonNet, comes with posecli",
    "yolo": "a YOLO11 or YOLO26 weights file of ultralytics (AGPL-3.0; extra posecli[yolo])",
    "boxes": "boxes from a file",
    "full-frame": "the whole picture is one person",
}


class Detector(Protocol):
    """Finds people."""

    @property
    def name(self) -> str:
        """What the run record calls it."""
        ...

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people in each frame, in the order of the frames; boxes in px of the frame, best first."""
        ...


def create_detector(
    spec: str,
    *,
    device: str = "cpu",
    min_score: float | None = None,
    boxes: Mapping[int, Detections] | None = None,
    weights: str | None = None,
) -> Detector:
    """Make a detector.

    Args:
        spec: One of `DETECTORS`; ``yolo`` may carry its weights file: ``yolo:FILE``.
        device: Torch device of the network, if there is one.
        min_score: People less sure are dropped; ``None`` for the detector's own habit.
        boxes: For ``boxes``: the people by frame index.
        weights: For ``embedded`` a registered name or a path, for ``yolo`` a path.

    Returns:
        The detector.

    Raises:
        ConfigError: The spec is unknown, or something it needs is missing or out of range.
        DeviceError: The extra that the spec needs is not installed.
        WeightsError: The weights are missing or corrupt.
    """
    kind, _, suffix = spec.partition(":")
    if kind not in DETECTORS or (suffix and kind != "yolo"):
        raise ConfigError(f"unknown detector {spec!r}", hint=f"known: {', '.join(DETECTORS)}")
    if min_score is not None and not 0.0 <= min_score <= 1.0:
        raise ConfigError(f"detector score threshold {min_score:g} is not in [0, 1]")
    if (boxes is not None) != (kind == "boxes"):
        raise ConfigError(
            f"detector {kind!r}: {_boxes_complaint(kind)}", hint="give a boxes file and the detector boxes, or neither"
        )
    if weights is not None and kind in ("boxes", "full-frame"):
        raise ConfigError(f"detector {kind!r} has no weights, but {weights!r} were given")
    if kind == "full-frame":
        from posecli.people.full_frame import FullFrameDetector

        return FullFrameDetector()
    if boxes is not None:
        from posecli.people.boxes_file import BoxesDetector

        return BoxesDetector(boxes, min_score=min_score or 0.0)
    return _create_network(kind, suffix or weights, device=device, min_score=min_score)


def _create_network(kind: str, weights: str | None, *, device: str, min_score: float | None) -> Detector:
    if kind == "embedded":
        from posecli.people import embedded

        score = embedded.DEFAULT_MIN_SCORE if min_score is None else min_score
        return embedded.EmbeddedDetector(weights or DETECTOR_WEIGHTS, device=device, min_score=score)
    from posecli.people import yolo

    if weights is None:
        raise ConfigError("detector 'yolo' needs a weights file", hint="for example --detector yolo:yolo11n.pt")
    score = yolo.DEFAULT_MIN_SCORE if min_score is None else min_score
    return yolo.YoloDetector(weights, device=device, min_score=score)


def _boxes_complaint(kind: str) -> str:
    return "needs boxes" if kind == "boxes" else "boxes were given too"
