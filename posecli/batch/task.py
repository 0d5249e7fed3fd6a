"""Annotating one video of a batch, in whatever process: every end of it is told, none is raised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from posecli.atomic import remove_partial_files
from posecli.batch.decide import stamp
from posecli.batch.identity import Glance, content_sha256
from posecli.batch.job import Job, OutputFiles
from posecli.batch.outcome import Failure, Outcome, failure_of
from posecli.errors import OutputError

if TYPE_CHECKING:
    from posecli.pipeline.annotate import AnnotateResult, Progress
    from posecli.pipeline.long_video import JoinEnd
    from posecli.pipeline.models import Models
    from posecli.pipeline.stretches import SplitConfig, Stretch


class StopAsked(BaseException):
    """Raised by a progress callback to end a video early: its journal is kept, as after Ctrl-C."""


def annotate_job(
    job: Job,
    models: Models,
    *,
    style: str = "default",
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
    split: SplitConfig | None = None,
) -> Outcome:
    """Annotate a video, or the part of it that the job names; outputs are replaced if they are there, for the caller has decided that.

    Args:
        job: The video.
        models: Loaded.
        style: Of the overlay.
        command: For the run report.
        progress: May raise `StopAsked`.
        split: When a video is long; ``None``: however long, it is done here and now.

    Returns:
        The end. Of a long video: its stretches, with nothing done. Of a stretch: how many frames an earlier run had done, as
        ``resumed``. Facts of another success: ``frames``, ``people``, ``poses``, ``resumed_at_frame``, ``warnings``, ``notes``,
        ``timings_s``; ``input`` and ``sha256`` of the video, ``stamp`` of the poses file.
    """
    start = perf_counter()
    try:
        if job.part is None and split is not None and (stretches := _split(job, models, split)):
            return Outcome(perf_counter() - start, stretches=stretches)
        if job.part is not None and job.part.position is not None:
            resumed = _annotate_stretch(job, job.part.stretches, job.part.position, models, progress)
            return Outcome(perf_counter() - start, {"resumed": resumed})
        facts = _annotate(job, models, style, command, progress)
    except StopAsked:
        return Outcome(perf_counter() - start, is_stopped=True)
    except Exception as error:
        return Outcome(perf_counter() - start, failure=_explain(error))
    if facts is None:
        for path in reversed(job.files.paths()):  # made from two different videos: of no use to anybody
            path.unlink(missing_ok=True)
        what = f"{job.video}: has changed while it was being annotated"
        return Outcome(perf_counter() - start, failure=Failure.of("changed", what, exit_code=5))
    return Outcome(perf_counter() - start, facts)


def _annotate(
    job: Job, models: Models, style: str, command: tuple[str, ...], progress: Progress | None
) -> dict[str, Any] | None:
    from posecli.pipeline.annotate import Outputs, annotate
    from posecli.pipeline.long_video import join_stretches, remove_stretches

    _make_folder(job.files.poses.parent)
    remove_leftovers(job.files)
    files = job.files
    outputs = Outputs(files.poses, overlay=files.overlay, sheet=files.sheet, overlay_style=style)
    before = _glance(job.video)
    joined = None if job.part is None else join_stretches(job.video, job.part.stretches, files.poses, models)
    result = annotate(job.video, outputs, overwrite=True, command=command, progress=progress, models=models)
    if before is None or before != _glance(job.video):
        return None
    remove_stretches(files.poses)
    return {
        **_counts(result),
        **_told(result, joined),
        "input": before.to_json(),
        "sha256": content_sha256(job.video),
        "stamp": stamp(files.poses),
    }


def _split(job: Job, models: Models, split: SplitConfig) -> tuple[Stretch, ...]:
    from posecli.pipeline.long_video import split_video

    return split_video(job.video, models, split)


def _annotate_stretch(
    job: Job, stretches: tuple[Stretch, ...], position: int, models: Models, progress: Progress | None
) -> int:
    from posecli.pipeline.long_video import annotate_stretch, stretches_folder

    poses = job.files.poses
    _make_folder(stretches_folder(poses))
    return annotate_stretch(job.video, stretches, position, poses, models, progress=progress)


def _told(result: AnnotateResult, joined: JoinEnd | None) -> dict[str, Any]:
    """What a run has to say; the first pass of a long video has been that of its stretches."""
    warnings, notes, timings_s = list(result.warnings), list(result.notes), dict(result.timings_s)
    if joined is not None:
        warnings = list(dict.fromkeys([*joined.warnings, *warnings]))
        notes = list(dict.fromkeys([*joined.notes, *notes]))
        timings_s |= joined.timings_s
    return {
        "resumed_at_frame": None if joined is not None else result.resumed_at_frame,
        "warnings": warnings,
        "notes": notes,
        "timings_s": {stage: round(seconds, 3) for stage, seconds in timings_s.items()},
    }


def remove_leftovers(files: OutputFiles) -> None:
    """Remove what a killed process was in the middle of writing."""
    for path in files.paths():
        remove_partial_files(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error


def _glance(video: Path) -> Glance | None:
    """What is not there is for `annotate` to complain about."""
    with contextlib.suppress(OSError):
        return Glance.at(video)
    return None


def _counts(result: AnnotateResult) -> dict[str, int]:
    poses = result.annotation.poses
    return {"frames": len(result.annotation.frames), "people": len(poses), "poses": sum(len(pose) for pose in poses)}


def _explain(error: Exception) -> Failure:
    from posecli.out_of_memory import is_out_of_memory

    if is_out_of_memory(error):
        return Failure.of("memory", f"memory ran out: {str(error) or type(error).__name__}", exit_code=6)
    return failure_of(error)


def throttled(report: Callable[[str, int, int | None], None], *, every_s: float) -> Progress:
    """A progress callback that passes on the first and the last call of each stage, and one every so often between them."""
    last_stage, last_s = "", 0.0
    held: tuple[str, int, int | None] | None = None

    def progress(stage: str, done: int, total: int | None, speeds: object) -> None:
        nonlocal last_stage, last_s, held
        now = perf_counter()
        if stage == last_stage and now - last_s < every_s:
            held = (stage, done, total)
            return
        if held is not None and stage != last_stage:
            report(*held)
        last_stage, last_s, held = stage, now, None
        report(stage, done, total)

    return progress


__all__ = ["StopAsked", "annotate_job", "remove_leftovers", "throttled"]
