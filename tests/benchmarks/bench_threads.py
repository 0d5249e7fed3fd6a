"""The pose stage with one and with two threads, in turns: crops, network and decoding of 1, 2 and 4 people in a window.

    python tests/benchmarks/bench_threads.py [--config glsmamba-s] [--threads 2] [--json]

Elapsed time, because threads are about that; on a machine whose cores are busy with something else nothing can be seen here, so mind
the load average. Processor time beside it says how much the threads got in each other's way. Exit code 1 where four people are less
than 1.6 times as fast with two threads as with one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from posecli.cli.threads import make_threads_patient

make_threads_patient()  # as `posecli annotate` does, before torch is imported

import numpy as np
import torch

from posecli.benchmark.clip import default_clip, read_frames
from posecli.benchmark.comparison import compare
from posecli.benchmark.machine import load_average, num_cores
from posecli.benchmark.subject import Subject
from posecli.benchmark.windows import WindowBench
from posecli.pipeline.allocator import keep_freed_memory

GOAL = 1.6
PERSONS = (1, 2, 4)
BOX = (380.0, 150.0, 480.0, 380.0)  # a person of the example clip


def measure(config: str | None, threads: int, rounds: int) -> dict[str, Any]:
    """One JSON object."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject.prepare(config=config, weights=None, device="cpu", folder=Path(folder))
        num_frames = subject.estimator.config.num_frames
        frames = read_frames(default_clip(Path(folder)), num_frames)
    boxes = np.tile(np.array(BOX, np.float32), (num_frames, 1))
    window = WindowBench(subject.estimator, [frame.image for frame in frames], boxes)
    cpu_ms: dict[str, float] = {}

    def side(name: str, persons: int, count: int) -> Callable[[], float]:
        def run() -> float:
            torch.set_num_threads(count)
            start, cpu_start = time.perf_counter(), time.process_time()
            for _ in range(4 // persons):
                window.estimate(persons)
            spent, cpu = time.perf_counter() - start, time.process_time() - cpu_start
            scale = 1e3 / (persons * (4 // persons) * num_frames)
            cpu_ms[name] = min(cpu_ms.get(name, float("inf")), scale * cpu)
            return scale * spent

        return run

    sides = {
        f"{persons} people, {count} threads": side(f"{persons} people, {count} threads", persons, count)
        for persons in PERSONS
        for count in (1, threads)
    }
    before = load_average()
    comparison = compare(sides, rounds=rounds)
    rows = []
    for persons in PERSONS:
        one, many = (f"{persons} people, {count} threads" for count in (1, threads))
        rows.append(
            {
                "persons": persons,
                "one_thread_ms": comparison.min_ms(one),
                "threads_ms": comparison.min_ms(many),
                "one_thread_cpu_ms": cpu_ms[one],
                "threads_cpu_ms": cpu_ms[many],
                "speed_up": comparison.ratio(one, many),
                "median_speed_up": comparison.median_ratio(one, many),
            }
        )
    return {
        "config": subject.config,
        "random_weights": subject.has_random_weights,
        "threads": threads,
        "cores": num_cores(),
        "load_average": [before, load_average()],
        "rows": rows,
    }


def main() -> int:
    """Print one line for each number of people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments.config, arguments.threads, arguments.rounds)
    is_met = result["rows"][-1]["speed_up"] >= GOAL
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return 0 if is_met else 1
    load = result["load_average"]
    sys.stdout.write(f"{result['config']}; {result['cores']} cores, load average {load[0]} before, {load[1]} after\n")
    for row in result["rows"]:
        sys.stdout.write(
            f"{row['persons']} people: {row['one_thread_ms']:6.2f} ms a person-frame with 1 thread, "
            f"{row['threads_ms']:6.2f} with {result['threads']}: {row['speed_up']:.2f} times as fast "
            f"(median of rounds {row['median_speed_up']:.2f}); "
            f"processor {row['one_thread_cpu_ms']:.2f} and {row['threads_cpu_ms']:.2f} ms\n"
        )
    sys.stdout.write(f"goal {GOAL} with 4 people: {'pass' if is_met else 'FAIL'}\n")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
