"""SIGKILL, anywhere: the same command ends with the same bytes, of poses and overlay."""

from __future__ import annotations

import random
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AFTER = Path(__file__).with_name("fault_after.py")
POINTS = {
    "journal": ("write", r"\.\w+\.poses\.json\.journal"),
    "manifest": ("write", r"manifest\.jsonl"),
    "poses": ("create", r"\.\w+\.poses\.\w{8}\.partial\.json"),
    "poses moved": ("moved", r"\w+\.poses\.json"),
    "report": ("create", r"\.\w+\.poses\.run\.\w{8}\.partial\.json"),
    "overlay": ("create", r"\.\w+\.overlay\.\w{8}\.partial\.mp4"),
    "overlay moved": ("moved", r"\w+\.overlay\.mp4"),
    "summary": ("create", r"\.summary\.\w{8}\.partial\.json"),
}
OF_BATCH = [*POINTS, "journal", "manifest", "overlay", "poses"]
OF_ANNOTATE = ["journal", "journal", "overlay", "overlay", "poses", "poses", "report", "overlay moved"]
VIDEO = "a.mp4"


def seeded(wheres: list[str], seed: int) -> list[tuple[str, int]]:
    """Where, and the how manieth time, in any order."""
    chance = random.Random(seed)
    mixed = chance.sample(wheres, len(wheres))
    return [(where, 1 if where == "summary" else chance.randint(1, 2)) for where in mixed]


def test_there_are_twenty_points() -> None:
    assert len(OF_BATCH) + len(OF_ANNOTATE) == 20


@pytest.mark.parametrize("name", ["a.overlay.mp4", "a.poses.run.json", "a.poses.json"])
def test_annotate_killed_the_moment_after_a_file_is_there(name: str, make_bench: Callable[..., Any]) -> None:
    bench = make_bench("SIGKILL of annotate")
    bench.out.mkdir()
    run = bench.annotate(VIDEO, prelude=AFTER, environment={"FAULT_AFTER": name})
    assert run.wait() == -signal.SIGKILL
    assert (bench.out / name).exists()
    bench.check()
    run = bench.annotate(VIDEO)
    assert run.wait() == 0, run.said
    for each in ("a.poses.json", "a.overlay.mp4"):
        assert (bench.out / each).read_bytes() == bench.expected[each]


def kill_at(bench: Any, start: Callable[[], Any], where: str, count: int) -> bool:
    """Kill a run where it is told; whether it got there."""
    kind, name = POINTS[where]
    with bench.watch() as watch:
        run = start()
        if run.wait_for(watch, kind, name, count) is None:
            assert run.wait() == 0, run.said
            return False
        run.kill_all()
    return True


def test_batch_killed_at_twelve_points(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("SIGKILL of a batch, workers and all")
    for where, count in seeded(OF_BATCH, 6):
        if not kill_at(bench, bench.start, where, count):
            bench.check(is_complete=True)
            shutil.rmtree(bench.out)
            assert kill_at(bench, bench.start, where, count)
        bench.check()
    bench.finish()


def test_annotate_killed_at_eight_points(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("SIGKILL of annotate")
    wanted = {name: data for name, data in bench.expected.items() if re.match(r"a\.", name)}
    assert len(wanted) == 2
    num_torn = 0
    for where, count in seeded(OF_ANNOTATE, 7):
        count = count if where == "journal" else 1
        assert kill_at(bench, lambda: bench.annotate(VIDEO), where, count)
        num_torn += any(".partial" in path.name for path in bench.out.rglob(".*"))
        bench.check()
        if where in ("poses", "overlay moved"):
            continue  # killed once more before it is done
        run = bench.annotate(VIDEO)
        assert run.wait() == 0, run.said
        found = {path.name: path.read_bytes() for path in bench.out.iterdir() if path.is_file()}
        report = found.pop("a.poses.run.json", None)
        bench.row.wrong_outputs += found != wanted
        assert report is not None
        assert found == wanted  # and nothing that the killed one was writing
        shutil.rmtree(bench.out)
    assert num_torn >= 3  # files were really in the middle of being written
