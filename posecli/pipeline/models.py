"""The networks of a run, in memory: loaded once, good for any number of videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from posecli.crew import Crew
from posecli.formats.run import UsedWeights, run_record
from posecli.lifting.lifter import Lifter
from posecli.people.detector import Detector, create_detector
from posecli.pipeline.lift import used_weights
from posecli.pipeline.settings import AnnotateSettings
from posecli.pose.estimator import PoseEstimator


@dataclass(frozen=True)
class Models:
    """What `posecli.pipeline.annotate` needs of weights, and who works.

    Nothing of a video stays in them: the poses of the second video are those of a run of its own. What they do remember is how large
    a batch memory allows. Not for several videos at the same time.

    Attributes:
        settings: What they were loaded for.
        crew: Who works.
        estimator: Of poses.
        detector: Of people.
        lifter: ``None``: no 3D poses.
    """

    settings: AnnotateSettings
    crew: Crew
    estimator: PoseEstimator
    detector: Detector
    lifter: Lifter | None

    def record(self) -> dict[str, Any]:
        """The run record, see `posecli.formats.run.run_record`."""
        weights = [UsedWeights("pose", self.estimator.name, self.estimator.sha256)]
        if (heads := self.estimator.heads) is not None:
            weights.append(UsedWeights("heads", heads.name, heads.sha256))
        sha256 = getattr(self.detector, "sha256", None)
        if sha256:
            weights.append(UsedWeights("detector", getattr(self.detector, "weights_name", self.detector.name), sha256))
        if self.lifter is not None:
            weights.append(used_weights(self.lifter))
        return run_record(
            settings=self.settings.to_json(),
            weights=weights,
            backend={
                "device": str(self.estimator.device),
                "scan": self.estimator.backend,
                "detector": self.detector.name,
            },
        )


def load_models(settings: AnnotateSettings, crew: Crew) -> Models:
    """Load everything that ``settings`` ask for.

    Raises:
        WeightsError: Weights are unknown, missing or corrupt.
        DeviceError: The device or a backend is not available.
        ConfigError: The detector is unknown, or lacks something.
    """
    estimator = PoseEstimator.load(
        settings.weights,
        head_weights=settings.head_weights,
        device=settings.device,
        backend=settings.scan_backend,
        is_mirrored=settings.mirror,
        crew=crew,
    )
    return Models(settings, crew, estimator, load_detector(settings), load_lifter(settings))


def load_detector(settings: AnnotateSettings) -> Detector:
    """Whoever finds people; errors as those of `posecli.people.detector.create_detector`."""
    return create_detector(
        settings.detector,
        device=settings.device,
        min_score=settings.min_detection_score,
        boxes=settings.boxes,
        weights=settings.detector_weights,
    )


def load_lifter(settings: AnnotateSettings) -> Lifter | None:
    """Whoever finds depth, if 3D poses are asked for; errors as those of `posecli.lifting.lifter.Lifter.load`."""
    if settings.lift is None:
        return None
    return Lifter.load(
        settings.lift,
        device=settings.device,
        backend=settings.scan_backend,
        height_cm=settings.height_cm,
        fov_deg=settings.fov_deg,
        is_mirrored=settings.mirror,
    )


__all__ = ["Models", "load_detector", "load_lifter", "load_models"]
