"""Many short and a few long videos in one batch: is memory flat, are files closed, are dead processes collected?

    python tests/benchmarks/bench_soak.py [--short 200] [--long 3] [--long-frames 20000] [--workers 2] [--every 2] [--json]

Quick look: --short 10 --long 1 --short-frames 20 --long-frames 100 --every 1. The videos are the example clip forwards and
backwards, small. While the batch works, /proc is read every so often: resident memory, open files and threads of the driver and of
each worker, and zombie processes. Each series counts after its first quarter (loading, compiling, the first videos). Its slope is
the median of the slopes between all pairs (Theil and Sen), so that single peaks do not count. Flat: over the whole time memory grows
by less than 5 %, open files and threads by less than one. Ends with 1 if anything grows, a process stays a zombie, a video or a
frame is missing, or something is left behind. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["flat", "grows", "too short to say"]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "rendered_people.mp4"
SIZE = (320, 180)
WARM_UP = 0.25
MIN_SAMPLES = 20
MAX_SAMPLES = 400
MAX_GROWTH = {"memory": 0.05, "files": 1.0, "threads": 1.0}
DISTINCT = 5


@dataclass(frozen=True)
class Sample:
    """One look at one process: seconds since the start, resident MB, open files, threads."""

    seconds: float
    process: int
    memory_mb: float
    files: int
    threads: int


@dataclass(frozen=True)
class Trend:
    """How one figure of one process developed after its warm-up; ``growth`` is what the slope makes of the whole time."""

    process: int
    what: str
    samples: int
    first: float
    median: float
    last: float
    highest: float
    growth: float
    verdict: Verdict


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Median of the slopes between all pairs (Theil 1950, Sen 1968); long series are thinned evenly first.

    Raises:
        ValueError: There are no two different times.
    """
    step = -(-len(times) // MAX_SAMPLES)
    points = list(zip(times, values, strict=True))[:: max(1, step)]
    slopes = [(v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in itertools.combinations(points, 2) if t2 != t1]
    if not slopes:
        raise ValueError("a slope needs two different times")
    return statistics.median(slopes)


def judge(process: int, what: str, times: Sequence[float], values: Sequence[float]) -> Trend:
    """A series with its warm-up, to a trend without it."""
    start = times[0] + WARM_UP * (times[-1] - times[0])
    kept = [(t, v) for t, v in zip(times, values, strict=True) if t >= start]
    warm_times, warm = [t for t, _ in kept], [v for _, v in kept]
    growth = slope(warm_times, warm) * (warm_times[-1] - warm_times[0]) if len(kept) > 1 else 0.0
    middle = statistics.median(warm)
    allowed = MAX_GROWTH[what] * (middle if what == "memory" else 1.0)
    verdict: Verdict = "too short to say" if len(kept) < MIN_SAMPLES else "flat" if growth < allowed else "grows"
    return Trend(process, what, len(kept), warm[0], middle, warm[-1], max(warm), growth, verdict)


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Of every process and figure; processes seen once (a worker that ended at once) are left out."""
    of: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        of[sample.process].append(sample)
    found = []
    for process, series in of.items():
        if len(series) > 1:
            times = [sample.seconds for sample in series]
            found.append(judge(process, "memory", times, [sample.memory_mb for sample in series]))
            found.append(judge(process, "files", times, [float(sample.files) for sample in series]))
            found.append(judge(process, "threads", times, [float(sample.threads) for sample in series]))
    return found


def parse_stat(content: str) -> tuple[int, str, int]:
    """Number, state and parent of a process, from /proc/N/stat: names may hold spaces and brackets."""
    number, rest = content.split(" ", 1)
    state, parent = rest.rpartition(")")[2].split()[:2]
    return int(number), state, int(parent)


def family(root: int) -> dict[int, str]:
    """A process and everything below it, with their states."""
    states: dict[int, str] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, state, parent = parse_stat(path.read_text())
        except OSError:
            continue  # it has just ended
        states[number] = state
        children[parent].append(number)
    found, waiting = {}, [root]
    while waiting:
        number = waiting.pop()
        found[number] = states[number]
        waiting += children[number]
    return found


def look(process: int, seconds: float) -> Sample | None:
    """Look at a process; ``None``: it is gone, or a zombie, which has neither memory nor files."""
    folder = Path("/proc") / str(process)
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        files = len(list((folder / "fd").iterdir()))
        return Sample(seconds, process, int(status["VmRSS"].split()[0]) / 1024, files, int(status["Threads"]))
    except (OSError, KeyError):
        return None


class Watch(threading.Thread):
    """Looks at this process and all below it.

    Args:
        every_s: How often.

    Attributes:
        samples: Of all processes.
        stale: Zombies seen twice in a row: nobody collects them.
    """

    def __init__(self, every_s: float) -> None:
        super().__init__(daemon=True)
        self._every_s = every_s
        self._is_over = threading.Event()
        self._zombies: set[int] = set()
        self.samples: list[Sample] = []
        self.stale: set[int] = set()

    def run(self) -> None:
        """Until `end`."""
        begin = time.monotonic()
        while not self._is_over.wait(self._every_s):
            states = family(os.getpid())
            now = {number for number, state in states.items() if state == "Z"}
            self.stale |= now & self._zombies
            self._zombies = now
            found = (look(number, time.monotonic() - begin) for number in states)
            self.samples += [sample for sample in found if sample is not None]

    def end(self) -> None:
        """Stop looking."""
        self._is_over.set()
        self.join()


def make_videos(folder: Path, *, short: int, long: int, short_frames: int, long_frames: int) -> int:
    """Write them; short ones come in a few lengths, each encoded once and copied.

    Returns:
        Frames in all of them.
    """
    pictures = small_pictures()
    total = 0
    for number in range(short):
        frames = short_frames + number % DISTINCT
        path = folder / f"short{number:04d}.mp4"
        total += frames
        if number < DISTINCT:
            write_clip(path, pictures, frames)
        else:
            shutil.copy(folder / f"short{number % DISTINCT:04d}.mp4", path)
    for number in range(long):
        path = folder / f"long{number}.mp4"
        total += long_frames
        if number == 0:
            write_clip(path, pictures, long_frames)
        else:
            shutil.copy(folder / "long0.mp4", path)
    return total


def small_pictures() -> list[Any]:
    """The example clip, small: (H, W, 3) uint8 RGB."""
    import cv2

    from posecli.video.source import open_source

    with open_source(EXAMPLE) as source:
        return [cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA) for frame in source.frames()]


def there_and_back(pictures: Sequence[Any]) -> Iterator[Any]:
    """Forwards, backwards, forwards, ..."""
    return itertools.cycle([*pictures, *pictures[-2:0:-1]])


def write_clip(path: Path, pictures: Sequence[Any], num_frames: int) -> None:
    """A clip at 30 fps."""
    from posecli.video.sink import VideoSink

    with VideoSink(path, size_wh=SIZE, time_base=Fraction(1, 30), fps=Fraction(30)) as sink:
        for index, picture in enumerate(itertools.islice(there_and_back(pictures), num_frames)):
            sink.write(picture, index)


def left_behind(out: Path) -> list[str]:
    """What a batch that came to its end should have removed: journals and files half written."""
    return sorted(path.name for path in out.rglob(".*") if path.suffix != ".lock")


def soak(videos: Path, out: Path, *, workers: int, threads: int, every_s: float) -> dict[str, Any]:
    """One batch, watched."""
    from posecli.batch.request import BatchRequest
    from posecli.batch.run import run_batch
    from posecli.cli.threads import make_threads_patient
    from posecli.pipeline.settings import AnnotateSettings

    make_threads_patient()
    watch = Watch(every_s)
    watch.start()
    begin = time.monotonic()
    try:
        summary = run_batch(BatchRequest((str(videos),), out, AnnotateSettings(), workers=workers, threads=threads))
    finally:
        watch.end()
    return {
        "seconds": time.monotonic() - begin,
        "done": len(summary.tally.done),
        "failed": len(summary.tally.failed),
        "retries": summary.tally.retries,
        "frames": summary.tally.frames,
        "zombies": len(watch.stale),
        "left_behind": left_behind(out),
        "samples": watch.samples,
        "trends": trends(watch.samples),
    }


def verdict_of(found: dict[str, Any], *, videos: int, frames: int) -> tuple[str, bool]:
    """One line, and whether all is well."""
    growing = [trend for trend in found["trends"] if trend.verdict == "grows"]
    faults = [f"{trend.what} of process {trend.process} grows" for trend in growing]
    faults += [f"{found['zombies']} zombies"] * (found["zombies"] > 0)
    faults += [f"{found['done']} of {videos} videos done"] * (found["done"] != videos)
    faults += [f"{found['frames']} of {frames} frames"] * (found["frames"] != frames)
    faults += [f"left behind: {', '.join(found['left_behind'])}"] * bool(found["left_behind"])
    if faults:
        return "NOT WELL: " + "; ".join(faults), False
    if any(trend.verdict == "flat" for trend in found["trends"]):
        return "flat, no zombies, every video and frame there, nothing left behind", True
    return "no zombies, every video and frame there, nothing left behind; too short to say whether it is flat", True


def report(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"load average {os.getloadavg()[0]:.1f}; {found['done']} videos of {found['frames']:,} frames in {found['seconds']:.0f} s; "
        f"{found['failed']} failed, {found['retries']} tried again; zombies {found['zombies']}",
        f"{'process':>9} {'':8} {'samples':>7} {'first':>8} {'median':>8} {'last':>8} {'highest':>8} {'growth':>8}",
    ]
    for t in found["trends"]:
        name = "driver" if t.process == os.getpid() else str(t.process)
        lines.append(
            f"{name:>9} {t.what:8} {t.samples:7d} {t.first:8.1f} {t.median:8.1f} {t.last:8.1f} {t.highest:8.1f} {t.growth:+8.2f} "
            f"{t.verdict}"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print figures and a verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=int, default=200)
    parser.add_argument("--long", type=int, default=3)
    parser.add_argument("--short-frames", type=int, default=60)
    parser.add_argument("--long-frames", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=float, default=2.0, help="seconds from one look to the next")
    parser.add_argument("--samples", type=Path, help="write all samples here, as JSON")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        videos, out = Path(name) / "videos", Path(name) / "poses"
        videos.mkdir()
        lengths = {"short_frames": chosen.short_frames, "long_frames": chosen.long_frames}
        frames = make_videos(videos, short=chosen.short, long=chosen.long, **lengths)
        found = soak(videos, out, workers=chosen.workers, threads=chosen.threads, every_s=chosen.every)
    samples = [asdict(sample) for sample in found.pop("samples")]
    if chosen.samples is not None:
        chosen.samples.write_text(json.dumps(samples))
    line, is_well = verdict_of(found, videos=chosen.short + chosen.long, frames=frames)
    if chosen.json:
        found["trends"] = [asdict(trend) for trend in found["trends"]]
        sys.stdout.write(json.dumps({**found, "verdict": line}, indent=2) + "\n")
    else:
        sys.stdout.write(f"{report(found)}{line}\n")
    raise SystemExit(0 if is_well else 1)


if __name__ == "__main__":
    main()
