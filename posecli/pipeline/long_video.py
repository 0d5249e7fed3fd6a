"""Long videos: split, gone through stretch by stretch (by whoever has time), and put together again.

Stretches are journals of pass 1 in a hidden folder beside the poses file. Putting them together writes the journal that one pass over
the whole video would have left; `posecli.pipeline.annotate.annotate` goes on from there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from posecli.errors import OutputError
from posecli.pipeline.annotate import Progress, no_progress
from posecli.pipeline.beginning import frames_from, identity, look_every, new_first_pass, open_video, window_plan
from posecli.pipeline.first_pass import FirstPass, StageTimes
from posecli.pipeline.journal import Journal, journal_path
from posecli.pipeline.models import Models
from posecli.pipeline.seams import Seams, StretchRecords
from posecli.pipeline.stretches import SplitConfig, Stretch, plan_stretches
from posecli.pipeline.unchanged import ChangedVideoError, Unchanged, dropped_if_changed
from posecli.records import Frame
from posecli.video.start import find_start

# Frames of a video with a varying rate do not lie where its mean rate says.
_MARGINS_S = (1.0, 10.0, 60.0)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class JoinEnd:
    """What came out of the stretches besides poses: what the user should know, and busy seconds by stage."""

    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    timings_s: Mapping[str, float]


def stretches_folder(poses: Path) -> Path:
    """Where the stretches of a poses file lie meanwhile."""
    return poses.with_name(f".{poses.name}.stretches")


def remove_stretches(poses: Path) -> None:
    """They are not needed any more, or of no use."""
    shutil.rmtree(stretches_folder(poses), ignore_errors=True)


def split_video(video: Path, models: Models, config: SplitConfig) -> tuple[Stretch, ...]:
    """The stretches of a long video.

    Not split are videos that are not long, or only part of which is wanted; and those where decoding cannot begin in the middle with
    certainty about which frame is which: every stretch would have to decode all that comes before.

    Args:
        video: File, or folder of images.
        models: Loaded.
        config: How.

    Returns:
        In order; empty: do it in one go.

    Raises:
        VideoError: It cannot be read.
    """
    settings = models.settings
    if settings.start_s is not None or settings.end_s is not None:
        return ()
    with open_video(video, settings, None, models.crew) as source:
        info = source.info
    fps = float(info.fps or 0)
    by_time = None if info.duration_s is None else round(info.duration_s * fps)
    claims = [claim for claim in (info.num_frames_from_header, by_time) if claim is not None]
    if not claims or fps <= 0:
        return ()
    plan = window_plan(models)
    stretches = plan_stretches(min(claims), fps, plan, look_every=look_every(models, plan), config=config)
    if stretches and video.is_file():
        last = stretches[-1].start * plan.hop
        if find_start(video, last / fps).first_index < last / 2:
            return ()
    return stretches


def annotate_stretch(
    video: Path,
    stretches: Sequence[Stretch],
    position: int,
    poses: Path,
    models: Models,
    *,
    progress: Progress | None = None,
) -> int:
    """Go through one stretch of a video, or on where an earlier run was interrupted.

    Args:
        video: File, or folder of images.
        stretches: See `split_video`.
        position: Which of them.
        poses: The poses file that the video is to have in the end.
        models: Loaded.
        progress: See `posecli.pipeline.annotate.Progress`; frames are counted from the beginning of the stretch.

    Returns:
        Frames that an earlier run had done already, those before the seam left out.

    Raises:
        PoseCliError: One of its kinds, see `posecli.errors`.
    """
    stretch, warnings = stretches[position], list[str]()
    start, unchanged = perf_counter(), Unchanged(video)
    with (
        Journal(_path(poses, position), _identity(video, stretch, models)) as journal,
        dropped_if_changed(journal, unchanged),
    ):
        first_pass = new_first_pass(models, stop_chunk=stretch.stop)
        resume = journal.resume
        first = stretch.start if resume is None else resume.next_chunk
        needed = first_pass.route.first_needed(first)
        if journal.remarks is None:
            if resume is None:
                found = _frames_at(video, models, needed, warnings)
            else:
                first_pass.load_state(resume.state)
                found = _frames_to_come(video, models, needed, resume.state["needed_time_s"], warnings)
            with closing(found) as frames:
                report = partial(_report, progress or no_progress, first_pass, stretch)
                first_pass.run(frames, journal, start_chunk=first, progress=report)
            unchanged.check()
            busy_s = first_pass.times.seconds()
            timings_s = {"pass1": perf_counter() - start, "pass1_busy": sum(busy_s.values()), **busy_s}
            notes = [*models.estimator.notes, *getattr(models.detector, "notes", ())]
            journal.note_end({"warnings": warnings, "notes": notes, "timings_s": timings_s})
    return max(0, first - stretch.seam) * first_pass.plan.hop


def join_stretches(video: Path, stretches: Sequence[Stretch], poses: Path, models: Models) -> JoinEnd:
    """Put the stretches of a video together: a journal of the whole, beside the poses file.

    Args:
        video: As before.
        stretches: All of them, each annotated.
        poses: The poses file that the video is to have in the end.
        models: Loaded.

    Returns:
        What they say.

    Raises:
        ChangedVideoError: Since the first of them.
        OutputError: Stretches are missing, or the journal cannot be written.
    """
    with ExitStack() as stack:
        journals = []
        for position, stretch in enumerate(stretches):
            path = _path(poses, position)
            if not path.exists():
                raise OutputError(f"{path}: is missing", hint="give the same command again")
            journals.append(stack.enter_context(Journal(path, _identity(video, stretch, models))))
        if any(journal.is_foreign for journal in journals):
            raise ChangedVideoError(video)
        ends = [journal.remarks for journal in journals if journal.remarks is not None]
        if len(ends) < len(journals):
            raise OutputError(f"{poses}: a stretch is not finished", hint="give the same command again")
        parts = [_records(stretch, journal) for stretch, journal in zip(stretches, journals, strict=True)]
        _write(Seams(parts, hop=window_plan(models).hop), journal_path(poses), identity(video, models))
    timings: dict[str, float] = {}
    for end in ends:
        for stage, seconds in end["timings_s"].items():
            timings[stage] = timings.get(stage, 0.0) + seconds
    notes = dict.fromkeys(note for end in ends for note in end["notes"])
    return JoinEnd(tuple(alike_once(warning for end in ends for warning in end["warnings"])), tuple(notes), timings)


def alike_once(lines: Iterable[str]) -> list[str]:
    """Lines that differ in nothing but numbers are told once, with how many more there are."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(_NUMBER.sub("#", line), []).append(line)
    told = []
    for group in groups.values():
        others = len(group) - 1
        told.append(group[0] if len(set(group)) == 1 else f"{group[0]} (and alike in {others} other stretches)")
    return told


def _write(seams: Seams, path: Path, run: Mapping[str, Any]) -> None:
    path.unlink(missing_ok=True)
    with Journal(path, run) as whole:
        held: dict[str, Any] | None = None
        for record in seams.records():
            if held is not None:
                whole.write_chunk(held.pop("chunk"), held, state=None)
            held = record
        if held is not None:
            held["chunk"] = seams.next_chunk - 1
            whole.write_chunk(held.pop("chunk"), held, state=seams.state())


def _records(stretch: Stretch, journal: Journal) -> StretchRecords:
    resume = journal.resume
    if resume is None:
        return StretchRecords(stretch, journal.chunks, 0, None)
    return StretchRecords(stretch, journal.chunks, resume.next_chunk, resume.state)


def _path(poses: Path, position: int) -> Path:
    return stretches_folder(poses) / f"{position:04d}.journal"


def _identity(video: Path, stretch: Stretch, models: Models) -> dict[str, Any]:
    return {**identity(video, models), "stretch": [stretch.start, stretch.stop]}


def _frames_to_come(
    video: Path, models: Models, index: int, time_s: float | None, warnings: list[str]
) -> Generator[Frame]:
    """Nothing where the video had ended."""
    if time_s is not None:
        yield from frames_from(video, models, index, time_s, warnings)


def _frames_at(video: Path, models: Models, index: int, warnings: list[str]) -> Generator[Frame]:
    """Frames from ``index`` on; only its number is known, not its time."""
    with open_video(video, models.settings, None, models.crew) as source:
        fps = float(source.info.fps or 0)
    guess_s = index / fps if fps > 0 else 0.0
    for start_s in [*(guess_s - margin_s for margin_s in _MARGINS_S), 0.0]:
        said: list[str] = []
        with closing(frames_from(video, models, index, max(0.0, start_s), said)) as frames:
            head = next(frames, None)
            if start_s > 0 and (head is None or head.index > index):
                continue
            try:
                if head is not None:
                    yield head
                    yield from frames
            finally:
                frames.close()
                warnings.extend(said)
            return


def _report(progress: Progress, first_pass: FirstPass, stretch: Stretch, done: int, times: StageTimes) -> None:
    first = stretch.start * first_pass.plan.hop
    total = None if stretch.stop is None else stretch.stop * first_pass.plan.hop - first
    progress("annotate", done - first, total, times.speeds())
