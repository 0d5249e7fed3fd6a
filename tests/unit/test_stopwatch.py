"""Stages: what is inside counts once, side by side counts twice."""

from __future__ import annotations

import threading
import time

from posecli.stopwatch import Stopwatch


def test_a_stage_inside_a_stage_counts_for_itself_only() -> None:
    watch = Stopwatch()
    with watch.time("outer"):
        time.sleep(0.02)
        with watch.time("inner"):
            time.sleep(0.05)
        with watch.time("inner"):
            time.sleep(0.05)
    assert 0.1 <= watch.wall_s["inner"] < 0.2
    assert 0.02 <= watch.wall_s["outer"] < watch.wall_s["inner"]
    assert 0.0 <= watch.cpu_s["inner"] < 0.05  # sleeping is no work


def test_threads_add_up() -> None:
    watch = Stopwatch()
    barrier = threading.Barrier(3)

    def work() -> None:
        barrier.wait()
        with watch.time("work"):
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for _ in range(3)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    assert watch.wall_s["work"] >= 0.15
    assert elapsed < 0.15 or watch.wall_s["work"] > elapsed


def test_a_stage_that_fails_counts_too() -> None:
    watch = Stopwatch()
    try:
        with watch.time("work"):
            raise ValueError
    except ValueError:
        pass
    assert watch.wall_s["work"] > 0.0
