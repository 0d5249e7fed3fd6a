"""`annotate` from end to end: its time beside that of its stages, and its peak memory in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from posecli.benchmark.clock import Clock
from posecli.benchmark.rehearsal import Rehearsal
from posecli.benchmark.subject import Subject
from posecli.errors import PoseCliError
from posecli.people.detector import create_detector
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.settings import AnnotateSettings
from posecli.pose.estimator import PoseEstimator

# A process of its own, which says its peak itself, last thing. Linux hands the peak that getrusage tells on to programs that a process
# starts, so there it is read from the kernel's account of this program alone.
_CHILD = """
import json, resource, sys

def peak_bytes():
    if sys.platform.startswith("linux"):
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

from posecli.cli.threads import make_threads_patient
make_threads_patient()
import posecli.pose.estimator, posecli.pipeline.annotate, posecli.people.embedded
loaded = peak_bytes()
from posecli.cli.app import app
try:
    app(sys.argv[1:], prog_name="posecli")
except SystemExit as end:
    code = end.code or 0
print(json.dumps({"loaded": loaded, "peak": peak_bytes()}))
sys.exit(code)
"""
_DONE = (0, 3)


@dataclass(frozen=True, slots=True)
class WholeRun:
    """`annotate` on the same frames as the stages, without an overlay.

    Attributes:
        ms_per_frame: Of the run, loading of weights left out.
        load_ms: Reading weights and building both networks.
        ratio_to_stages: ``ms_per_frame`` over the sum of the stages; above 1 is overhead, below 1 is overlap.
        has_detection: Whether the detector ran; not where a person was made up.
    """

    ms_per_frame: float
    load_ms: float
    ratio_to_stages: float
    has_detection: bool


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Peak resident memory of `posecli annotate` in a process of its own, MB (10^6 bytes).

    Attributes:
        peak_mb: Of the whole run.
        libraries_mb: Before anything was read: the interpreter, torch, OpenCV, numba.
        gpu_peak_mb: Of the tensors on the GPU while the stages were measured; ``None`` on a CPU.
    """

    peak_mb: float
    libraries_mb: float
    gpu_peak_mb: float | None


def time_annotate(
    video: Path, rehearsal: Rehearsal, subject: Subject, clock: Clock, *, stages_ms: float, repeats: int, folder: Path
) -> WholeRun:
    """Annotate the clip as the command does and compare with the sum of its stages.

    Args:
        video: The clip.
        rehearsal: Its frames; people that were made up are given as boxes.
        subject: The network.
        clock: As for the stages.
        stages_ms: What the stages that run here cost, for a frame.
        repeats: Runs, after one to warm up; the fastest counts.
        folder: For outputs.
    """
    boxes = rehearsal.detections if rehearsal.has_made_up_person else None
    settings = AnnotateSettings(
        weights=subject.weights,
        detector="embedded" if boxes is None else "boxes",
        boxes=boxes,
        end_s=_end_s(rehearsal),
        device=str(subject.estimator.device),
    )

    def load() -> None:
        PoseEstimator.load(settings.weights, device=settings.device)
        create_detector(settings.detector, device=settings.device, boxes=settings.boxes)

    def run() -> None:
        annotate(video, Outputs(folder / "whole.json"), settings, overwrite=True)

    seconds = {}
    for name, work in (("load", load), ("run", run)):
        work()
        spans = []
        for _ in range(repeats):
            start = clock.now_s()
            work()
            spans.append(clock.now_s() - start)
        seconds[name] = min(spans)
    ms_per_frame = 1e3 * (seconds["run"] - seconds["load"]) / len(rehearsal.frames)
    return WholeRun(ms_per_frame, 1e3 * seconds["load"], ms_per_frame / stages_ms, boxes is None)


def measure_memory(
    video: Path, rehearsal: Rehearsal, subject: Subject, *, num_threads: int, gpu_peak_mb: float | None, folder: Path
) -> MemoryReport | None:
    """Run the command on the clip in a process of its own; ``None`` on Windows, which keeps no such account.

    Raises:
        PoseCliError: It failed.
    """
    if sys.platform == "win32":
        return None
    arguments = ["annotate", str(video), "--out", str(folder / "memory.json"), "--overwrite", "--quiet"]
    arguments += ["--weights", subject.weights, "--device", str(subject.estimator.device)]
    arguments += ["--threads", str(num_threads), "--end", str(_end_s(rehearsal))]
    command = [sys.executable, "-c", _CHILD, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in _DONE:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise PoseCliError(f"posecli annotate in its own process ended with {done.returncode}: {reason[0]}")
    peaks = json.loads(done.stdout.splitlines()[-1])
    return MemoryReport(peaks["peak"] / 1e6, peaks["loaded"] / 1e6, gpu_peak_mb)


def _end_s(rehearsal: Rehearsal) -> float:
    """A moment between the last frame measured and the next."""
    last = rehearsal.frames[-1].time_s
    step = last / (len(rehearsal.frames) - 1) if len(rehearsal.frames) > 1 else 1.0
    return last + step / 2
