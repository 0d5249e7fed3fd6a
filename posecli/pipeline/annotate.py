"""`annotate`: a video in, an `Annotation` and its files out. The only place where the stages meet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from posecli.atomic import check_output, remove_partial_files
from posecli.errors import ConfigError, VideoError
from posecli.formats.coco import write_coco_dataset
from posecli.formats.coco_results import write_coco_results
from posecli.formats.posetrack import write_posetrack
from posecli.formats.run import run_report_path, write_run_report
from posecli.pipeline.beginning import frames_from, identity, new_first_pass, open_video
from posecli.pipeline.first_pass import FirstPass, StageTimes
from posecli.pipeline.journal import Journal, journal_path
from posecli.pipeline.lift import MotionFiles, lift_annotation
from posecli.pipeline.models import Models, load_models
from posecli.pipeline.second_pass import collect, finish_poses
from posecli.pipeline.settings import AnnotateSettings
from posecli.pipeline.threads import all_threads
from posecli.pipeline.unchanged import Unchanged, dropped_if_changed
from posecli.records import Annotation, Frame
from posecli.video.overlay import get_style
from posecli.video.render import render_overlay
from posecli.video.sheet import contact_sheet
from posecli.video.source import Source


class Progress(Protocol):
    """Called while work goes on: stage, frames done, frames in all (if known), work a second by stage."""

    def __call__(self, stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        """See the class."""


@dataclass(frozen=True)
class Outputs:
    """Files to write; ``None`` is not written. ``poses`` is posecli's own COCO data set, the others are made from the same poses.

    ``motion`` needs 3D poses (``AnnotateSettings.lift``); in its folders there is a file for each person.
    """

    poses: Path
    coco_results: Path | None = None
    posetrack: Path | None = None
    overlay: Path | None = None
    sheet: Path | None = None
    overlay_style: str = "default"
    motion: MotionFiles = field(default_factory=MotionFiles)

    def paths(self) -> list[Path]:
        """All files but those of ``motion``, the poses (and their run report) last: when they are there, everything is."""
        optional = (self.coco_results, self.posetrack, self.overlay, self.sheet)
        return [path for path in optional if path is not None] + [run_report_path(self.poses), self.poses]


@dataclass(frozen=True)
class AnnotateResult:
    """What came out: the poses, what the user should know, seconds, and where an earlier run was continued.

    ``timings_s``: ``pass1``, ``pass2``, ``lift`` (where there is 3D) and ``write`` follow one another. The stages of pass 1 overlap,
    so for each of them (`posecli.pipeline.first_pass.STAGES`) it says how long it kept a thread busy; ``pass1_busy`` is their sum.
    ``motion_files``: those of 3D poses, written besides ``Outputs.paths``.
    """

    annotation: Annotation
    warnings: tuple[str, ...]
    timings_s: Mapping[str, float]
    resumed_at_frame: int | None = None
    notes: tuple[str, ...] = field(default=())
    motion_files: tuple[Path, ...] = field(default=())


def annotate(
    video: Path,
    outputs: Outputs,
    settings: AnnotateSettings | None = None,
    *,
    overwrite: bool = False,
    command: tuple[str, ...] = (),
    progress: Progress | None = None,
    models: Models | None = None,
) -> AnnotateResult:
    """Annotate one video.

    An interrupted run leaves a journal beside ``outputs.poses``; the same call goes on from it and ends with the same bytes.

    Args:
        video: File, or folder of images.
        outputs: What to write.
        settings: What decides the result.
        overwrite: Whether existing files may be replaced.
        command: For the run report.
        progress: See `Progress`.
        models: Networks loaded before, with their settings and their crew; ``settings`` is not looked at then.

    Returns:
        The annotation, already written.

    Raises:
        PoseCliError: One of its kinds, see `posecli.errors`; nothing half-written is left behind.
    """
    settings = models.settings if models is not None else settings or AnnotateSettings()
    report = progress or no_progress
    get_style(outputs.overlay_style)  # a typo must not cost hours
    if outputs.motion and settings.lift is None:
        raise ConfigError("TRC, BVH and NPZ files hold 3D poses", hint="ask for 3D poses too, with --3d")
    with ExitStack() as stack:
        unchanged = Unchanged(video)
        crew = models.crew if models is not None else stack.enter_context(all_threads())
        source = stack.enter_context(open_video(video, settings, settings.start_s, crew))
        journal_file = journal_path(outputs.poses)
        if not journal_file.exists():
            _check_outputs(video, outputs, set(), overwrite=overwrite)
        models = models or load_models(settings, crew)
        record = models.record()
        journal = stack.enter_context(Journal(journal_file, identity(video, models)))
        stack.enter_context(dropped_if_changed(journal, unchanged))
        try:
            unchanged.check()
            _check_outputs(video, outputs, journal.written_outputs(), overwrite=overwrite)
            for path in outputs.paths():
                remove_partial_files(path)  # of a killed run; at once, they may fill the disk
            run = _Run(video, source, models, journal, report, unchanged)
            return run.finish(outputs, record, command)
        except BaseException:
            if not journal.is_worth_keeping:
                journal.remove()
            raise


@dataclass
class _Run:
    """One call of `annotate` under way."""

    video: Path
    source: Source
    models: Models
    journal: Journal
    report: Progress
    unchanged: Unchanged

    def finish(self, outputs: Outputs, record: Mapping[str, Any], command: tuple[str, ...]) -> AnnotateResult:
        """Run all passes and write everything."""
        start = perf_counter()
        notes = (
            ["a journal of another run was dropped: input, settings or weights differ"]
            if self.journal.is_foreign
            else []
        )
        first_pass = new_first_pass(self.models)
        self._run_first_pass(first_pass)
        busy_s = first_pass.times.seconds()
        timings = {"pass1": perf_counter() - start, "pass1_busy": sum(busy_s.values()), **busy_s}
        self.report("finish", 0, None, {})
        start = perf_counter()
        collected = collect(self.journal.chunks(), num_keypoints=self.models.estimator.config.num_keypoints)
        if not len(collected.frames):
            raise VideoError(f"{self.video}: no frame could be decoded", hint=_range_hint(self.models.settings))
        num_corrupt = int(collected.frames.is_corrupt.sum())
        # what a resumed run cannot know again (the source's remarks on earlier frames) stays out of the poses file
        lasting = [f"{num_corrupt} corrupt frames; their poses are interpolated"] if num_corrupt else []
        poses, facts = finish_poses(collected, first_pass.tracker.finish(), self.models.settings)
        annotation = Annotation(
            video=self.source.info,
            frames=collected.frames,
            poses=poses,
            run={**record, **facts, "warnings": lasting},
            first_frame_index=collected.first_frame,
        )
        timings["pass2"] = perf_counter() - start
        annotation = self._lift(annotation, timings)
        drawing, motion_files = self._write(outputs, annotation, timings, command)
        # the renderer reads the video once more and repeats what the first reading said
        warnings = tuple(dict.fromkeys([*self.source.warnings, *lasting, *drawing]))
        notes += [*self.models.estimator.notes, *getattr(self.models.detector, "notes", ())]
        resume = self.journal.resume
        self.journal.remove()
        resumed_at = None if resume is None else resume.next_chunk * first_pass.plan.hop
        return AnnotateResult(annotation, warnings, timings, resumed_at, tuple(notes), tuple(motion_files))

    def _lift(self, annotation: Annotation, timings: dict[str, float]) -> Annotation:
        if self.models.lifter is None:
            return annotation
        start, total = perf_counter(), sum(map(len, annotation.poses))
        lifted = lift_annotation(annotation, self.models.lifter, lambda done: self.report("lift", done, total, {}))
        timings["lift"] = perf_counter() - start
        return lifted

    def _run_first_pass(self, first_pass: FirstPass) -> None:
        resume = self.journal.resume
        if resume is None:
            frames, start_chunk = self.source.frames(), 0
            with first_pass.times.stopwatch.time("decode"):
                head = next(frames, None)
            if head is None:
                return
            first_pass.first_frame = head.index
            frames = itertools.chain([head], frames)
        else:
            start_chunk = resume.next_chunk
            first_pass.load_state(resume.state)
            frames = self._frames_to_come(first_pass.route.first_needed(start_chunk), resume.state["needed_time_s"])
        total = self._total()

        def progress(done: int, times: StageTimes) -> None:
            self.report("annotate", done, total, times.speeds())

        first_pass.run(frames, self.journal, start_chunk=start_chunk, progress=progress)

    def _frames_to_come(self, index: int, time_s: float | None) -> Iterator[Frame]:
        """Nothing where the video had ended."""
        return iter(()) if time_s is None else frames_from(self.video, self.models, index, time_s, self.source.warnings)

    def _total(self) -> int | None:
        info, settings = self.source.info, self.models.settings
        if info.num_frames_from_header is None or (settings.start_s is None and settings.end_s is None):
            return info.num_frames_from_header
        if info.fps is None or info.duration_s is None:
            return None
        end_s = min(info.duration_s, settings.end_s or info.duration_s)
        return max(0, round((end_s - (settings.start_s or 0.0)) * float(info.fps)))

    def _write(
        self, outputs: Outputs, annotation: Annotation, timings: dict[str, float], command: tuple[str, ...]
    ) -> tuple[list[str], list[Path]]:
        """Write all files, those of an interrupted run of the same journal anew.

        Returns:
            What was odd about drawing the overlay, and the files of 3D motion.
        """
        start = perf_counter()
        total = len(annotation.frames)
        # one means one; with more, decoder and encoder have two each, because one waits for the other
        num_threads = 1 if self.models.crew.num_threads == 1 else None
        drawing: list[str] = []
        writers: list[tuple[Path | None, Callable[[Path], object]]] = [
            (outputs.coco_results, lambda path: write_coco_results(annotation, path, overwrite=True)),
            (outputs.posetrack, lambda path: write_posetrack(annotation, path, overwrite=True)),
            (
                outputs.overlay,
                lambda path: drawing.extend(
                    render_overlay(
                        annotation,
                        path,
                        style=outputs.overlay_style,
                        overwrite=True,
                        num_threads=num_threads,
                        progress=lambda done: self.report("overlay", done, total, {}),
                    )
                ),
            ),
            (outputs.sheet, lambda path: contact_sheet(annotation, path, overwrite=True, num_threads=num_threads)),
        ]
        motion_files = outputs.motion.write(annotation, self._begin)
        for path, write in writers:
            if path is not None:
                self._begin(path)
                write(path)
        self._check_input(outputs)
        timings["write"] = perf_counter() - start
        counts = {
            "frames": total,
            "tracks": len(annotation.poses),
            "poses": sum(len(pose) for pose in annotation.poses),
        }
        report_path = run_report_path(outputs.poses)
        for path in (report_path, outputs.poses):
            self._begin(path)
        write_run_report(report_path, annotation.run, command=command, timings_s=timings, counts=counts, overwrite=True)
        write_coco_dataset(annotation, outputs.poses, overwrite=True)
        return drawing, motion_files

    def _begin(self, path: Path) -> None:
        """Before an output is written: a run killed the moment after it is there may replace it, one killed before leaves nothing."""
        remove_partial_files(path)
        self.journal.note_output(path)

    def _check_input(self, outputs: Outputs) -> None:
        """What two different videos have gone into is of no use to anybody."""
        try:
            self.unchanged.check()
        except VideoError:
            for path in outputs.paths():
                if path.name in self.journal.written_outputs():
                    path.unlink(missing_ok=True)
            raise


def _check_outputs(video: Path, outputs: Outputs, own: set[str], *, overwrite: bool) -> None:
    outputs.motion.check(video, overwrite=overwrite, own=own)
    for path in outputs.paths():
        check_output(path, overwrite=overwrite or path.name in own)


def _range_hint(settings: AnnotateSettings) -> str | None:
    if settings.start_s is None and settings.end_s is None:
        return None
    return "the video may end before --start"


def no_progress(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
    """Nobody is watching."""


__all__ = ["AnnotateResult", "Outputs", "Progress", "annotate", "no_progress"]
