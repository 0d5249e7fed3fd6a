"""What others do meanwhile: inputs change, workers die, memory runs out, the clock jumps, another batch begins."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLOCK = Path(__file__).with_name("fault_clock.py")
JOURNAL = r"\.a\.poses\.json\.journal"
OUTPUT_ERROR = 7


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def test_input_replaced_meanwhile(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("input replaced")
    video = bench.videos / "a.mp4"
    original, times = video.read_bytes(), video.stat()
    with bench.watch() as watch:
        batch = bench.start()
        assert batch.wait_for(watch, "write", JOURNAL) is not None
    with batch.held():
        new = bench.videos.parent / "new"
        new.write_bytes((bench.videos / "b.mp4").read_bytes())
        new.replace(video)
    assert batch.wait() == 3
    [failed] = json.loads((bench.out / "summary.json").read_text())["failures"]
    assert failed["kind"] in ("changed", "input")
    assert not (bench.out / "a.poses.json").exists()  # neither the old one's nor the new one's
    new.write_bytes(original)
    new.replace(video)
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns))
    bench.settle()
    bench.check()
    bench.finish()


def test_input_cut_off_meanwhile(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("input replaced")
    video = bench.videos / "a.mp4"
    original = video.read_bytes()
    with bench.watch() as watch:
        batch = bench.start()
        assert batch.wait_for(watch, "write", JOURNAL) is not None
    with batch.held():
        video.write_bytes(original[: len(original) // 2])
    assert batch.wait() == 3
    assert not (bench.out / "a.poses.json").exists()
    video.write_bytes(original)
    bench.settle()
    bench.check()
    bench.finish()


def test_worker_killed_twice_at_the_same_video(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("worker killed")
    with bench.watch() as watch:
        batch = bench.start()
        for how in (signal.SIGKILL, signal.SIGSEGV):
            file = batch.wait_for(watch, "write", JOURNAL)
            assert file is not None
            os.kill(batch.at_work_on(file), how)
    assert batch.wait() == 3
    bench.check()
    summary = json.loads((bench.out / "summary.json").read_text())
    assert (summary["done"], summary["failed"], summary["retries"]) == (2, 1, 1)
    assert [failure["kind"] for failure in summary["failures"]] == ["died"]
    bench.finish()


def test_clock_jumps(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("clock jump")
    with bench.watch() as watch:
        batch = bench.start(prelude=CLOCK)
        assert batch.wait_for(watch, "moved", r"b\.poses\.json") is not None
        batch.kill()
    bench.check()
    bench.finish(prelude=CLOCK)
    times = [record["time"] for record in records(bench.out)]
    assert times != sorted(times)  # it did jump
    num_records = len(times)
    bench.finish()
    after = records(bench.out)[num_records:]
    assert [record["event"] for record in after] == ["begin", "skipped", "skipped", "skipped", "end"]


def test_two_shards_at_once(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("two batches at once")
    shards = [bench.start("--shard", f"{index}/2") for index in (1, 2)]
    assert [shard.wait() for shard in shards] == [0, 0]
    bench.check()
    bench.finish()


def test_two_batches_at_once(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("two batches at once")
    with bench.watch() as watch:
        first = bench.start()
        assert first.wait_for(watch, "write", JOURNAL) is not None
    os.killpg(first.process_id, signal.SIGSTOP)
    try:
        before = (bench.out / "manifest.jsonl").read_bytes()
        second = bench.start()
        assert second.wait() == OUTPUT_ERROR
        assert f"{bench.out}: another batch is at work" in second.plainly_said
        assert (bench.out / "manifest.jsonl").read_bytes() == before
    finally:
        os.killpg(first.process_id, signal.SIGCONT)
    assert first.wait() == 0, first.said
    bench.check(is_complete=True)
    bench.row.tried += 1


def test_the_lock_of_a_killed_batch_is_no_obstacle(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("two batches at once")
    with bench.watch() as watch:
        batch = bench.start()
        assert batch.wait_for(watch, "write", JOURNAL) is not None
        batch.kill_all()
    assert list(bench.out.glob(".batch-*.lock"))
    bench.check()
    bench.finish()
