"""What a batch adds to annotating each video, and what a second worker brings.

    python tests/benchmarks/bench_batch.py [VIDEO] [--copies 4] [--workers 1 2] [--threads 1] [--json]

VIDEO (default: the example clip) is copied; the copies are one batch for each number of workers. Overhead: the time that workers
spend from their first video's start to their last one's end, beyond what the stages of `annotate` say they took; opening the
video counts as overhead too. Elapsed time: throughputs need a quiet machine, mind the load average; the overhead is a ratio
within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from posecli.batch.manifest import History
from posecli.batch.request import BatchRequest
from posecli.batch.run import run_batch
from posecli.cli.threads import make_threads_patient
from posecli.pipeline.settings import AnnotateSettings

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "rendered_people.mp4"
OWN_STAGES = ("pass1", "pass2", "lift", "write")


def measure(folder: Path, out: Path, workers: int, threads: int) -> dict[str, Any]:
    """One batch."""
    summary = run_batch(BatchRequest((str(folder),), out, AnnotateSettings(), workers=workers, threads=threads))
    history = History.of_folder(out)
    begun: dict[str, float] = {record["output"]: seconds(record) for record in history.all("started")}
    busy = own = 0.0
    last_end: dict[int, float] = {}
    for record in history.all("done"):
        own += sum(record["timings_s"].get(stage, 0.0) for stage in OWN_STAGES)
        # from the end of the worker's last video, so that the gap between two counts too
        busy += seconds(record) - last_end.get(record["worker"], begun[record["output"]])
        last_end[record["worker"]] = seconds(record)
    span = max(last_end.values()) - min(begun.values())
    frames = summary.tally.frames
    return {
        "workers": workers,
        "threads": threads,
        "videos": len(summary.tally.done),
        "frames": frames,
        "frames_per_s": round(frames / span, 2),
        "overhead_percent": round(100 * (busy - own) / own, 2),
        "overhead_ms_per_video": round(1000 * (busy - own) / len(summary.tally.done), 1),
    }


def seconds(record: Any) -> float:
    """When a record was written."""
    return datetime.fromisoformat(record["time"]).timestamp()


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    make_threads_patient()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "videos"
        folder.mkdir()
        for number in range(chosen.copies):
            shutil.copy(chosen.video, folder / f"copy{number}{chosen.video.suffix}")
        rows = [
            measure(folder, Path(name) / f"poses{k}", workers, chosen.threads)
            for k, workers in enumerate(chosen.workers)
        ]
    if chosen.json:
        sys.stdout.write(json.dumps({"rows": rows, "load_average": os.getloadavg()}, indent=2) + "\n")
        return
    sys.stdout.write(f"load average {os.getloadavg()[0]:.1f}\n")
    for row in rows:
        times = row["frames_per_s"] / rows[0]["frames_per_s"]
        sys.stdout.write(
            f"{row['workers']} workers of {row['threads']} threads: {row['frames_per_s']} frames/s ({times:.2f} x), overhead "
            f"{row['overhead_percent']} % = {row['overhead_ms_per_video']} ms a video of {row['frames'] // row['videos']} frames\n"
        )


if __name__ == "__main__":
    main()
