"""The tracker's settings."""

from __future__ import annotations

from dataclasses import dataclass, fields

from posecli.errors import ConfigError


@dataclass(frozen=True)
class TrackerConfig:
    """How bold the tracker is. Similarities and scores are in [0, 1], times in seconds, distances in box heights.

    ``high_score``, ``low_score``: detections above the first are strong, below the second ignored. ``new_track_score``: what
    founds a track, unless its IoU with somebody already there is ``new_track_iou`` or more. ``min_iou_high``: IoU of a strong
    detection with the predicted box. ``min_iou_low``: the same where a pose should decide but is not known. ``min_oks``:
    similarity of poses. ``ambiguity_margin``: claims closer than this are decided by poses. ``pose_reach_heights``: how far
    from its prediction a detection is still worth a pose. ``max_jump_heights``: how far motion alone may carry. ``max_lost_s``:
    a track without evidence for longer is over; ``max_held_s``: so is one that only poses held for longer. ``confirm_hits``:
    detections until a track counts. ``pose_hold_score``: what a pose must score to hold a track, and ``pose_hold_iou`` how far
    its box must agree with the prediction. ``duplicate_iou``, ``duplicate_oks``, ``duplicate_updates``: two tracks this alike
    at this many looks in a row are one, unless the detector sees two boxes that share less than ``duplicate_covered`` of the smaller.
    """

    high_score: float = 0.4
    low_score: float = 0.15
    new_track_score: float = 0.4
    new_track_iou: float = 0.5
    min_iou_high: float = 0.3
    min_iou_low: float = 0.2
    min_oks: float = 0.3
    ambiguity_margin: float = 0.25
    pose_reach_heights: float = 0.7
    max_jump_heights: float = 1.5
    max_lost_s: float = 1.0
    max_held_s: float = 3.0
    confirm_hits: int = 2
    pose_hold_score: float = 0.4
    pose_hold_iou: float = 0.3
    duplicate_iou: float = 0.7
    duplicate_oks: float = 0.7
    duplicate_updates: int = 3
    duplicate_covered: float = 0.7

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_share = field.name.endswith(("_score", "_oks", "_margin", "_covered")) or "_iou" in field.name
            if is_share and not 0.0 <= value <= 1.0:
                raise ConfigError(f"tracker {field.name} is {value}", hint="give a number from 0 to 1")
            if not is_share and not value > 0:
                raise ConfigError(f"tracker {field.name} is {value}", hint="give a number above 0")
        if not self.low_score <= self.high_score <= self.new_track_score:
            scores = f"{self.low_score}, {self.high_score}, {self.new_track_score}"
            raise ConfigError(
                f"tracker low_score, high_score, new_track_score are {scores}", hint="they must not descend"
            )
