"""What decides the result of annotating a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

from posecli.defaults import HEAD_WEIGHTS, POSE_WEIGHTS
from posecli.errors import ConfigError
from posecli.lifting.bones import check_height
from posecli.lifting.trajectory import DEFAULT_FOV_DEG, Camera
from posecli.people.tracker_config import TrackerConfig
from posecli.people.tracks import StitchConfig
from posecli.pose.crossings import CrossingsConfig
from posecli.pose.sides import SidesConfig
from posecli.pose.smoothing import SmoothingConfig
from posecli.pose.windows import WindowMode
from posecli.records import Detections
from posecli.skeletons import STANDARD_HEIGHT_CM

Persons = Literal["all", "largest", "longest"]
_OF_3D = ("lift", "height_cm", "fov_deg")


@dataclass(frozen=True)
class AnnotateSettings:
    """Every setting of `posecli.pipeline.annotate`; all of it goes into the run record.

    Attributes:
        weights: Pose weights, a name or a file.
        head_weights: Of whoever looks at heads a second time, likewise; ``None``: nobody.
        detector: ``embedded``, ``yolo``, ``boxes`` or ``full-frame``.
        detector_weights: Name or file; ``None``: the detector's own.
        boxes: Frame index to people, for the detector ``boxes``.
        min_detection_score: ``None``: the detector's own.
        detect_every: Frames between two looks of the detector, rounded to whole windows; ``None``: every window.
        mode: See `posecli.pose.windows`.
        hop: Frames between two windows; ``None``: as many as a window holds (``clip``), 1 (``key``).
        mirror: Whether everybody is looked at (and lifted) a second time in the mirror: twice the time, more accurate.
        persons: Whom to keep: everybody, the largest person, or whoever is seen longest.
        smooth: Whether points that slipped onto somebody else are set back, left and right are settled over time and keypoints
            smoothed (the raw ones are kept either way).
        start_s: First second to annotate.
        end_s: Where to stop.
        image_fps: Frames a second that a folder of images counts as, exact: ``25``, ``29.97`` or ``30000/1001``.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        scan_backend: See `posecli.ssm.multi_scan`.
        lift: Lifter weights, a name or a file; ``None``: no 3D poses.
        height_cm: How tall the people are, for 3D.
        fov_deg: Of the camera, for the rough place of people in 3D, see `posecli.lifting.trajectory`.
    """

    weights: str = POSE_WEIGHTS
    head_weights: str | None = HEAD_WEIGHTS
    detector: str = "embedded"
    detector_weights: str | None = None
    boxes: Mapping[int, Detections] | None = None
    min_detection_score: float | None = None
    detect_every: int | None = None
    mode: WindowMode = "clip"
    hop: int | None = None
    mirror: bool = False
    persons: Persons = "all"
    smooth: bool = True
    start_s: float | None = None
    end_s: float | None = None
    image_fps: str = "30"
    device: str = "cpu"
    scan_backend: str = "auto"
    lift: str | None = None
    height_cm: float = STANDARD_HEIGHT_CM
    fov_deg: float = DEFAULT_FOV_DEG
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    stitch: StitchConfig = field(default_factory=StitchConfig)
    crossings: CrossingsConfig = field(default_factory=CrossingsConfig)
    sides: SidesConfig = field(default_factory=SidesConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)

    def __post_init__(self) -> None:
        if self.persons not in get_args(Persons):
            raise ConfigError(f"persons {self.persons!r} is not one of {', '.join(get_args(Persons))}")
        if self.mode not in get_args(WindowMode):
            raise ConfigError(f"window mode {self.mode!r} is not one of {', '.join(get_args(WindowMode))}")
        if self.detect_every is not None and self.detect_every < 1:
            raise ConfigError(f"detect-every is {self.detect_every}, it must be at least 1")
        if not _is_rate(self.image_fps):
            raise ConfigError(f"fps {self.image_fps!r} is not a frame rate", hint="for example 25, or 30000/1001")
        if self.start_s is not None and self.start_s < 0:
            raise ConfigError(f"start is {self.start_s} s, it must not be negative")
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ConfigError(f"end {self.end_s} s does not lie after start {self.start_s} s")

        check_height(self.height_cm)
        Camera.check_fov(self.fov_deg)

    def to_json(self) -> dict[str, Any]:
        """For the run record: everything but the boxes themselves, and nothing of 3D where there is none."""
        content = asdict(self)
        if self.lift is None:
            for name in _OF_3D:
                del content[name]
        content["boxes"] = None if self.boxes is None else len(self.boxes)
        return content


def _is_rate(text: str) -> bool:
    try:
        return Fraction(text) > 0
    except (ValueError, ZeroDivisionError):
        return False
