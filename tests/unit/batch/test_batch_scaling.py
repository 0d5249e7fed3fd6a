"""The scripts behind SCALING.md and the soak: their arithmetic, what they read from /proc, and a driver with a few hundred jobs."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


cost, soak = load("model_cost"), load("bench_soak")


def test_an_hour_of_video_by_hand() -> None:
    measured = cost.Measured(pose_ms=10, look_ms=20, rest_ms=1, whole=1.0, mbit_s=8, frame_bytes=100, person_bytes=1000)
    assumed = cost.Assumed(people=2, fps=25, look_every=5, minutes=6, cores=10, scaling=0.5, machine_mtbf_h=100)
    assert cost.frame_seconds(measured, assumed) == pytest.approx(0.025)  # 1 + 20 / 5 + 2 * 10 ms
    assert cost.core_hours_per_hour(measured, assumed) == pytest.approx(1.25)  # 25 * 0.025 / 0.5
    found = cost.cost_of(800, 2, measured, assumed)
    assert found.videos == pytest.approx(8000)
    assert found.core_hours == pytest.approx(1000)
    assert found.days == pytest.approx(50 / 24)  # twenty cores
    assert found.read_bytes == pytest.approx(800 * 3600 * 1e6)
    assert found.poses_bytes == pytest.approx(800 * 3600 * 25 * 2100 + 8000 * measured.video_bytes)
    assert found.read_gbit_s == pytest.approx(0.128)  # 2.88 TB in fifty hours
    assert found.records_s == pytest.approx(16000 / 180000)
    assert found.lost_machines == pytest.approx(1.0)  # two for fifty hours
    assert found.redone_core_hours == pytest.approx(10 * 0.125 / 2)  # half a video of each worker
    assert cost.machines_for(800, 1, measured, assumed) == 5
    assert cost.workers_sustained(500, 8) == 2000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0421, "0.0421"),
        (1, "1"),
        (862.4, "862"),
        (65912, "65,900"),
        (999_700, "1 million"),
        (1.2e9, "1.2 billion"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert cost.short(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5 bytes"), (1000, "1 kB"), (6.18e6, "6.18 MB"), (12.87e15, "12.9 PB")]
)
def test_sizes(value: float, text: str) -> None:
    assert cost.size(value) == text


def test_the_page_has_the_tables_of_the_script(repository: Path) -> None:
    page = (repository / "posecli" / "batch" / "SCALING.md").read_text(encoding="utf-8")
    found = cost.tables([1e3, 1e5, 1e7], 7.0, cost.Measured(), cost.Assumed())
    assert len(found) == 5
    assert [table for table in found if table not in page] == []
    assert "| GPU-hours | 0.045 |" in cost.unit_table(cost.Measured(), cost.Assumed(), 1000.0)


def test_a_slope_that_peaks_do_not_bend() -> None:
    times = [float(t) for t in range(50)]
    values = [100 + 0.5 * t for t in times]
    values[10] = values[30] = 9000.0
    assert soak.slope(times, values) == pytest.approx(0.5)
    many = [float(t) for t in range(5000)]
    assert soak.slope(many, [3 * t for t in many]) == pytest.approx(3)
    with pytest.raises(ValueError, match="two different times"):
        soak.slope([1.0, 1.0], [2.0, 3.0])


def test_what_grows_and_what_is_flat() -> None:
    noise = random.Random(1)
    times = [float(t) for t in range(100)]
    flat = [500 + 40 * noise.random() for _ in times]
    assert soak.judge(1, "memory", times, flat).verdict == "flat"
    leak = [value + 0.6 * t for t, value in zip(times, flat, strict=True)]
    assert soak.judge(1, "memory", times, leak).verdict == "grows"
    loading = [20 * t if t < 24 else 500.0 for t in times]
    assert soak.judge(1, "memory", times, loading).verdict == "flat"
    assert soak.judge(1, "files", times, [30.0 + (t % 9) for t in times]).verdict == "flat"
    assert soak.judge(1, "files", times, [30.0 + t // 20 for t in times]).verdict == "grows"
    assert soak.judge(1, "files", times[:10], [30.0] * 10).verdict == "too short to say"


def test_the_state_of_a_process_with_a_strange_name() -> None:
    assert soak.parse_stat("42 (a ) Z (b) S 7 42 42 0") == (42, "S", 7)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux only")
def test_a_zombie_among_the_children_is_seen() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert soak.family(os.getpid())[child.pid] in "RSD"
        seen = soak.look(child.pid, 1.0)
        assert seen is not None and seen.memory_mb > 1 and seen.files >= 3 and seen.threads >= 1
    finally:
        child.kill()
    deadline = time.monotonic() + 30
    while soak.family(os.getpid())[child.pid] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert soak.family(os.getpid())[child.pid] == "Z"
    assert soak.look(child.pid, 2.0) is None
    child.communicate()
    assert child.pid not in soak.family(os.getpid())


def test_the_verdict_names_every_fault(tmp_path: Path) -> None:
    (tmp_path / ".a.json.journal").touch()
    (tmp_path / ".batch-1-of-1.lock").touch()
    flat = soak.judge(1, "files", [float(t) for t in range(40)], [5.0] * 40)
    good = {"trends": [flat], "zombies": 0, "done": 3, "frames": 60, "left_behind": []}
    assert soak.verdict_of(good, videos=3, frames=60)[1] is True
    grows = soak.judge(7, "files", [float(t) for t in range(40)], [float(t) for t in range(40)])
    bad = {"trends": [grows], "zombies": 1, "done": 2, "frames": 40, "left_behind": soak.left_behind(tmp_path)}
    line, is_well = soak.verdict_of(bad, videos=3, frames=60)
    assert not is_well
    for fault in ("files of process 7 grows", "1 zombies", "2 of 3 videos", "40 of 60 frames", ".a.json.journal"):
        assert fault in line
    assert "lock" not in line


SIMULATE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import simulate_driver
if __name__ == "__main__":
    found = simulate_driver.simulate(Path(sys.argv[2]), jobs=600, workers=50, video_s=0.0)
    print(found.records, found.failed, found.records_s > 0, found.latency_ms <= found.latency_99_ms)
"""


@pytest.mark.weights
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux only")
def test_a_driver_notes_what_every_simulated_worker_says(tmp_path: Path) -> None:
    script, folder = tmp_path / "run.py", tmp_path / "out"
    script.write_text(SIMULATE)
    folder.mkdir()
    command = [sys.executable, str(script), str(BENCHMARKS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    records, failed, *rest = done.stdout.split()
    assert (int(records), rest) == (1200, ["True", "True"])
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == 1200
    assert sum('"event":"failed"' in line for line in lines) == int(failed) > 0
