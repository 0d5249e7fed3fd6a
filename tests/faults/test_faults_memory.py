"""Memory that is not there: smaller batches, another try, and one failure that costs no other video."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MEMORY = Path(__file__).with_name("fault_memory.py")
DEVICE_ERROR = 6
HUNGRY = """
import runpy, sys
import torch
from posecli.out_of_memory import BatchSize
runpy.run_path(sys.argv[1])
batches = BatchSize(16, what="windows")
sums = batches.run(40, lambda part: float(torch.ones((part.stop - part.start) * 15_000_000).sum()))
print(sum(sums), batches.size, batches.notes)
"""


def test_a_smaller_batch_when_memory_runs_out() -> None:
    if sys.platform != "linux":
        pytest.skip("limits are those of Linux")
    done = subprocess.run(
        [sys.executable, "-c", HUNGRY, str(MEMORY)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["600000000.0", "8"]
    assert "8 windows at a time instead of 16" in done.stdout


def test_a_video_that_memory_cannot_hold(
    make_bench: Callable[..., Any], make_video: Callable[..., Path], tmp_path: Path
) -> None:
    bench = make_bench("out of memory")
    (tmp_path / "large").mkdir()
    make_video(tmp_path / "large" / "large.mp4", 5, (5120, 4096))
    batch = bench.start(str(tmp_path / "large"), prelude=MEMORY)
    assert batch.wait() == 3, batch.said
    summary = json.loads((bench.out / "summary.json").read_text())
    assert (summary["done"], summary["failed"], summary["retries"]) == (3, 1, 1), summary
    [failed] = summary["failures"]
    assert (failed["output"], failed["exit_code"]) == ("large.poses.json", DEVICE_ERROR)
    assert "memory ran out" in failed["message"]
    events = [json.loads(line) for line in (bench.out / "manifest.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e.get("output") == "large.poses.json"] == ["started", "retry", "failed"]
    bench.check()
    bench.check(is_complete=True)
