"""All measurements of `posecli bench` in one report.

Its JSON form has the fields of `BenchReport`, and inside them those of the classes named there; times are milliseconds and say in
their name what they are for (a frame of the video, one person in one frame, a frame that the detector looks at).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from posecli.benchmark.clip import default_clip, read_frames
from posecli.benchmark.clock import FULL, QUICK, Clock, Effort
from posecli.benchmark.machine import Machine, load_average, num_cores
from posecli.benchmark.rehearsal import Rehearsal
from posecli.benchmark.resolutions import ResolutionRow, time_resolutions
from posecli.benchmark.scans import ScanReport, time_scans
from posecli.benchmark.stages import StageBench, StageReport
from posecli.benchmark.subject import Subject
from posecli.benchmark.whole_run import MemoryReport, WholeRun, measure_memory, time_annotate
from posecli.benchmark.windows import ModeRow, PersonsRow, ThreadsRow, WindowBench
from posecli.people.detector import Detector, create_detector

_PERSONS, _PERSONS_QUICK = (1, 4, 16), (1, 4)
_PERSONS_WITH_THREADS, _PERSONS_WITH_THREADS_QUICK = (1, 4), (1,)
_HEIGHTS_PX = (720, 1080)
_WHOLE_RUNS = 3


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure; see the options of the command. ``threads`` are those of the stages; two sections vary them."""

    video: Path | None = None
    config: str | None = None
    weights: str | None = None
    device: str = "cpu"
    threads: int = 1
    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What was measured.

    Attributes:
        machine: Where, see `Machine`.
        load_average_after: The last minute's load when all was done.
        config: The network.
        has_random_weights: Whether nobody trained it.
        scan_backend: The selective scan in use.
        device: Where the networks ran.
        threads: CPU threads of every section but ``threads_section``.
        clock: ``cpu`` (processor time) or ``wall`` (elapsed), of every section but ``threads_section``, which has both.
        stages: See `StageReport`.
        whole_run: See `WholeRun`.
        window_modes: See `ModeRow`.
        scans: See `ScanReport`.
        persons: See `PersonsRow`; 1, 4 and 16, or 1 and 4 in a quick run.
        resolutions: See `ResolutionRow`.
        threads_section: See `ThreadsRow`; empty on a GPU.
        memory: See `MemoryReport`.
    """

    machine: Machine
    load_average_after: float | None
    config: str
    has_random_weights: bool
    scan_backend: str
    device: str
    threads: int
    clock: str
    stages: StageReport
    whole_run: WholeRun
    window_modes: tuple[ModeRow, ...]
    scans: ScanReport | None
    persons: tuple[PersonsRow, ...]
    resolutions: tuple[ResolutionRow, ...]
    threads_section: tuple[ThreadsRow, ...]
    memory: MemoryReport | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def run_benchmark(request: Request, say: Callable[[str], None]) -> BenchReport:
    """Measure everything.

    Args:
        request: What.
        say: Told what is measured next.

    Raises:
        PoseCliError: A video, weights, config or device is not there.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(request.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="posecli-bench-") as name:
            return _Bench.prepare(request, Path(name), say).run()
    finally:
        torch.set_num_threads(before)


@dataclass
class _Bench:
    """A benchmark under way."""

    request: Request
    folder: Path
    say: Callable[[str], None]
    video: Path
    subject: Subject
    detector: Detector
    rehearsal: Rehearsal
    clock: Clock
    effort: Effort

    @classmethod
    def prepare(cls, request: Request, folder: Path, say: Callable[[str], None]) -> _Bench:
        effort = QUICK if request.is_quick else FULL
        subject = Subject.prepare(config=request.config, weights=request.weights, device=request.device, folder=folder)
        video = request.video or default_clip(folder)
        say(f"{subject.config} on the first {effort.num_frames} frames of {video}")
        detector = create_detector("embedded", device=request.device)
        frames = read_frames(video, effort.num_frames)
        rehearsal = Rehearsal.run(frames, detector, subject.estimator)
        if rehearsal.has_made_up_person:
            say("nobody was found in it: a person is put in the middle")
        clock = Clock.fitting(subject.estimator.device, request.threads)
        return cls(request, folder, say, video, subject, detector, rehearsal, clock, effort)

    def run(self) -> BenchReport:
        device, machine = self.subject.estimator.device, Machine.look(self.subject.estimator.device)
        stages, gpu_peak_mb = self._stages(device)
        self.say("annotate from end to end")
        whole_run = self._whole_run(stages)
        self.say("window modes, people in a batch, threads")
        chunk, estimator = self.rehearsal.busiest(), self.subject.estimator
        windows = WindowBench(estimator, chunk.images, chunk.boxes[0])
        modes = windows.modes(self.clock, self.effort)
        counts = _PERSONS_QUICK if self.request.is_quick else _PERSONS
        persons = windows.persons(counts, self.clock, self.effort)
        threads = self._threads(windows, device)
        self.say("scan backends")
        scans = time_scans(estimator, self.clock, self.effort, is_quick=self.request.is_quick)
        self.say("resolutions")
        resolutions = time_resolutions(
            self.rehearsal,
            self.detector,
            estimator.config.crop_hw,
            heights_px=_HEIGHTS_PX,
            clock=self.clock,
            effort=self.effort,
            num_threads=self.request.threads,
            folder=self.folder,
        )
        self.say("memory")
        memory = measure_memory(
            self.video,
            self.rehearsal,
            self.subject,
            num_threads=self.request.threads,
            gpu_peak_mb=gpu_peak_mb,
            folder=self.folder,
        )
        return BenchReport(
            machine=machine,
            load_average_after=load_average(),
            config=self.subject.config,
            has_random_weights=self.subject.has_random_weights,
            scan_backend=estimator.backend,
            device=str(device),
            threads=self.request.threads,
            clock=self.clock.kind,
            stages=stages,
            whole_run=whole_run,
            window_modes=modes,
            scans=scans,
            persons=persons,
            resolutions=resolutions,
            threads_section=threads,
            memory=memory,
        )

    def _stages(self, device: torch.device) -> tuple[StageReport, float | None]:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        bench = StageBench(
            self.video,
            self.rehearsal,
            self.subject,
            self.detector,
            self.clock,
            self.effort,
            self.request.threads,
            self.folder,
        )
        stages = bench.run(self.say)
        return stages, torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None

    def _whole_run(self, stages: StageReport) -> WholeRun:
        absent = "detect" if self.rehearsal.has_made_up_person else None
        rows = (row for row in stages.rows if row.part_of is None and not row.is_optional and row.stage != absent)
        return time_annotate(
            self.video,
            self.rehearsal,
            self.subject,
            self.clock,
            stages_ms=sum(row.ms_per_frame for row in rows),
            repeats=1 if self.request.is_quick else _WHOLE_RUNS,
            folder=self.folder,
        )

    def _threads(self, windows: WindowBench, device: torch.device) -> tuple[ThreadsRow, ...]:
        if device.type != "cpu":
            return ()
        persons = _PERSONS_WITH_THREADS_QUICK if self.request.is_quick else _PERSONS_WITH_THREADS
        return windows.threads(sorted({1, num_cores()}), persons, self.effort)
