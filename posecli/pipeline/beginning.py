"""What the reading of a video begins with: the source, what tells it from others, and a first pass with nothing found yet."""

from __future__ import annotations

from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

from posecli.crew import Crew
from posecli.people.tracker import Tracker
from posecli.pipeline.first_pass import FirstPass, StageTimes
from posecli.pipeline.models import Models
from posecli.pipeline.settings import AnnotateSettings
from posecli.pipeline.threads import decoder_threads
from posecli.pose.windows import WindowPlan
from posecli.records import Frame
from posecli.stopwatch import Stopwatch
from posecli.video.source import Source, open_source


def open_video(video: Path, settings: AnnotateSettings, start_s: float | None, crew: Crew) -> Source:
    """Open a video as the settings say, but from ``start_s`` on; errors as those of `posecli.video.source.open_source`."""
    return open_source(
        video,
        start_s=start_s,
        end_s=settings.end_s,
        num_threads=decoder_threads(crew),
        image_fps=Fraction(settings.image_fps),
    )


def identity(video: Path, models: Models) -> dict[str, Any]:
    """For the head of a journal: settings, weights, and what tells this input from another, or from a changed one."""
    files = sorted(video.iterdir()) if video.is_dir() else [video]
    fingerprint = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return {**models.record(), "input": fingerprint}


def window_plan(models: Models) -> WindowPlan:
    """Which frames go through the network together."""
    num_frames, settings = models.estimator.config.num_frames, models.settings
    default_hop = 1 if settings.mode == "key" else num_frames
    return WindowPlan(num_frames, settings.hop or default_hop, settings.mode)


def look_every(models: Models, plan: WindowPlan) -> int:
    """The detector looks at every so manieth window."""
    detect_every = models.settings.detect_every or models.estimator.config.num_frames
    return max(1, round(detect_every / plan.hop))


def new_first_pass(models: Models, *, stop_chunk: int | None = None) -> FirstPass:
    """A first pass over a video, with a stopwatch of its own."""
    plan = window_plan(models)
    models.estimator.stopwatch = Stopwatch()  # times are those of this video
    return FirstPass(
        detector=models.detector,
        tracker=Tracker(models.settings.tracker),
        estimator=models.estimator,
        plan=plan,
        first_frame=0,
        detect_every_chunks=look_every(models, plan),
        crew=models.crew,
        times=StageTimes(models.estimator.stopwatch),
        stop_chunk=stop_chunk,
    )


def frames_from(video: Path, models: Models, index: int, time_s: float, warnings: list[str]) -> Generator[Frame]:
    """Frames from ``index`` on, without decoding all that came before.

    Args:
        video: The input.
        models: With their settings.
        index: In the whole video.
        time_s: Of that frame, or before.
        warnings: Gets those of the source.
    """
    source = open_video(video, models.settings, time_s, models.crew)
    try:
        with source:
            yield from (frame for frame in source.frames() if frame.index >= index)
    finally:
        warnings.extend(source.warnings)
