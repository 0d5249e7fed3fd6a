"""Batches on a Ray of this machine: the bytes of the local engine, whoever is killed; and what is said where there is no Ray."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posecli.batch.ray_cluster import Node, connected, list_nodes, try_task
from posecli.batch.ray_engine import RayOptions, ray_engine
from posecli.batch.request import BatchRequest
from posecli.batch.run import run_batch
from posecli.batch.status import Status
from posecli.cli.app import app
from posecli.errors import ConfigError, DeviceError
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.settings import AnnotateSettings
from posecli.pipeline.stretches import SplitConfig

MakeVideo = Callable[..., Path]
SIZE = (96, 64)
PATIENCE_S = 240  # a busy machine


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One for all tests here: it takes long to start."""
    pytest.importorskip("ray")
    with connected(None, num_cpus=2) as module:
        yield module


@pytest.fixture
def plain(tiny_weights: Path) -> AnnotateSettings:
    return AnnotateSettings(weights=str(tiny_weights), head_weights=None, detector="full-frame")


class Killer:
    """Ends the worker that is at a video as soon as it has some frames, once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.killed: int | None = None
        self.seen: set[int] = set()

    def __call__(self, status: Status) -> None:
        for worker in status.workers:
            if worker.process_id is None:
                continue
            self.seen.add(worker.process_id)
            is_it = (worker.video or "").endswith(self._name)
            if self.killed is None and is_it and worker.done > 0:
                self.killed = worker.process_id
                os.kill(worker.process_id, signal.SIGKILL)


def test_a_worker_killed_in_the_middle_costs_no_byte(
    ray: Any, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo, capfd: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "videos"
    for name, count in (("long.mp4", 400), ("b.mp4", 60), ("sub/c.mp4", 30)):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        make_video(videos / name, count, SIZE)
    (videos / "empty.mp4").write_bytes(b"")
    local = run_batch(BatchRequest((str(videos),), tmp_path / "local", plain, workers=1))

    killer = Killer("long.mp4")
    request = BatchRequest((str(videos),), tmp_path / "ray", plain, workers=2, threads=1)
    capfd.readouterr()
    summary = run_batch(request, show=killer, make_engine=ray_engine(RayOptions()), log_file=tmp_path / "log.jsonl")
    assert capfd.readouterr() == ("", "")  # --json needs stdout for itself

    assert killer.killed is not None
    assert len(killer.seen) >= 2
    assert [summary.tally.retries, len(summary.tally.done), len(summary.tally.failed)] == [1, 3, 1]
    assert summary.tally.failed[0]["message"] == local.tally.failed[0]["message"]
    records = [json.loads(line) for line in (tmp_path / "ray" / "manifest.jsonl").read_text().splitlines()]
    [retry] = [record for record in records if record["event"] == "retry"]
    assert f"worker died (process {killer.killed} on " in retry["message"]
    [long] = [record for record in summary.tally.done if record["video"].endswith("long.mp4")]
    assert long["frames"] == 400
    stages = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert 400 in [line["frame"] for line in stages if line["event"] == "stage" and line["stage"] == "annotate"]
    for name in ("long", "b", "sub/c"):
        path = f"{name}.poses.json"
        assert (tmp_path / "ray" / path).read_bytes() == (tmp_path / "local" / path).read_bytes()

    again = run_batch(request, make_engine=ray_engine(RayOptions()))
    assert (len(again.tally.skipped), len(again.tally.done), len(again.tally.failed)) == (3, 0, 1)


def test_a_worker_killed_at_a_stretch_of_a_long_video_costs_that_stretch_only(
    ray: Any, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    video = make_video(tmp_path / "long.mp4", 600, SIZE, fps=5)
    split = SplitConfig(max_minutes=0.7)
    request = BatchRequest((str(video),), tmp_path / "ray", plain, workers=2, threads=1, overlay=True, split=split)
    killer = Killer("long.mp4 (2/3)")
    summary = run_batch(request, show=killer, make_engine=ray_engine(RayOptions()), log_file=tmp_path / "log.jsonl")

    assert killer.killed is not None
    assert len(killer.seen) >= 2
    [done] = summary.tally.done
    assert (done["frames"], summary.tally.retries, summary.num_left) == (600, 1, 0)
    records = [json.loads(line) for line in (tmp_path / "ray" / "manifest.jsonl").read_text().splitlines()]
    assert [record["event"] for record in records] == ["begin", "started", "retry", "done", "end"]
    assert records[2]["part"] == "2/3"
    begun = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    parts = [line.get("part") for line in begun if line["event"] == "started"]
    assert sorted({str(part) for part in parts}) == ["1/3", "2/3", "3/3", "None", "joining"]
    assert sum(part is not None for part in parts) == 5
    # nothing but the results lies there
    assert not [path for path in (tmp_path / "ray").iterdir() if path.name.endswith((".stretches", ".journal"))]

    annotate(video, Outputs(tmp_path / "whole.json", overlay=tmp_path / "whole.mp4"), plain)
    assert (tmp_path / "ray" / "long.poses.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert (tmp_path / "ray" / "long.overlay.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_small_task_says_where_and_with_what_it_ran(ray: Any) -> None:
    [node] = list_nodes(ray)
    assert (node.is_alive, node.cpus) == (True, 2.0)
    trial = try_task(ray)
    assert trial.host == node.host
    assert trial.ray == ray.__version__
    assert trial.python == sys.version.split()[0]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"

    result = CliRunner().invoke(app, ["doctor", "--ray", "--json"])
    rows = {row["topic"]: row for row in json.loads(result.stdout)}
    assert rows["ray task"]["status"] == "ok"
    assert f"ray {ray.__version__}" in rows["ray task"]["value"]
    assert rows[f"ray node {node.host}"]["value"] == "2 CPUs, 0 GPUs"


def test_a_worker_that_would_give_other_poses_is_refused(
    ray: Any, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "a.mp4", 10, SIZE)
    request = BatchRequest((str(tmp_path / "a.mp4"),), tmp_path / "poses", plain, workers=1)
    monkeypatch.setattr("posecli.__version__", "0.0.9")
    with pytest.raises(ConfigError, match=r"the batch was started by 0\.0\.9"):
        run_batch(request, make_engine=ray_engine(RayOptions()))
    assert not list(tmp_path.rglob("*.poses.json"))


def test_more_than_any_node_has_is_said_at_once(
    ray: Any, tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    make_video(tmp_path / "a.mp4", 10, SIZE)
    request = BatchRequest((str(tmp_path / "a.mp4"),), tmp_path / "poses", plain, workers=1, threads=64)
    with pytest.raises(DeviceError, match="no Ray node has 64 CPUs"):
        run_batch(request, make_engine=ray_engine(RayOptions()))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_ends_everything_and_the_next_run_goes_on(
    tmp_path: Path, plain: AnnotateSettings, make_video: MakeVideo
) -> None:
    pytest.importorskip("ray")
    make_video(tmp_path / "a.mp4", 1500, SIZE)
    out = tmp_path / "poses"
    options = [
        "--weights",
        plain.weights,
        "--head-weights",
        "none",
        "--detector",
        "full-frame",
        "--workers",
        "1",
        "--engine",
        "ray",
    ]
    command = [sys.executable, "-m", "posecli", "batch", str(tmp_path / "a.mp4"), "--out-dir", str(out), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not any(path.stat().st_size > 40_000 for path in out.glob(".*.journal")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, complained = process.communicate(timeout=PATIENCE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, complained
    assert "Traceback" not in complained
    assert "(interrupted)" in said
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["interrupted"], summary["left"]) == (True, 1)
    assert "retry" not in (out / "manifest.jsonl").read_text()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    [end] = [record for record in records if record["event"] == "done"]
    assert end["resumed_at_frame"] > 0
    local = run_batch(BatchRequest((str(tmp_path / "a.mp4"),), tmp_path / "local", plain, workers=1))
    assert len(local.tally.done) == 1
    assert (out / "a.poses.json").read_bytes() == (tmp_path / "local" / "a.poses.json").read_bytes()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "exit_code", "words"),
    [
        (["--engine", "spark"], 2, "local or ray"),
        (["--gpus-per-task", "0.5"], 2, "--engine ray"),
        (["--address", "auto"], 2, "--engine ray"),
        (["--engine", "ray", "--gpus-per-task", "0.5"], 2, "--device cuda"),
        (["--engine", "ray", "--gpus-per-task", "1.5", "--device", "cuda"], 2, "at most 1"),
        (["--engine", "ray", "--device", "cuda:1"], 2, "Ray decides"),
        (["--engine", "ray", "--address", "nonsense"], 2, "HOST:PORT"),
        (["--engine", "ray", "--address", "127.0.0.1:{port}"], 6, "no Ray cluster can be reached at 127.0.0.1:"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path,
    tiny_weights: Path,
    make_video: MakeVideo,
    options: list[str],
    exit_code: int,
    words: str,
) -> None:
    video = make_video(tmp_path / "a.mp4", 5, SIZE)
    said = [option.format(port=closed_port()) for option in options]
    result = CliRunner().invoke(
        app, ["batch", str(video), "--out-dir", str(tmp_path / "poses"), "--weights", str(tiny_weights), *said]
    )
    assert result.exit_code == exit_code, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert "Traceback" not in result.output


def test_without_ray_the_remedy_is_named(
    tmp_path: Path, tiny_weights: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    video = make_video(tmp_path / "a.mp4", 5, SIZE)
    words = ["batch", str(video), "--out-dir", str(tmp_path / "poses"), "--weights", str(tiny_weights)]
    result = CliRunner().invoke(app, [*words, "--engine", "ray"])
    assert result.exit_code == 6, result.output
    assert "pip install 'posecli[ray]'" in result.stderr
    rows = json.loads(CliRunner().invoke(app, ["doctor", "--ray", "--json"]).stdout)
    [ray] = [row for row in rows if row["topic"] == "ray"]
    assert (ray["status"], ray["remedy"]) == ("failed", "pip install 'posecli[ray]'")


def test_rooms_of_a_node() -> None:
    node = Node("a", True, 16.0, 2.0)
    assert node.rooms(cpus=2, gpus=0) == 8
    assert node.rooms(cpus=2, gpus=0.25) == 8
    assert node.rooms(cpus=1, gpus=0.25) == 8
    assert node.rooms(cpus=1, gpus=0.3) == 6  # three to a GPU: a worker has part of one, not parts of two
    assert node.rooms(cpus=1, gpus=1.0) == 2
    assert Node("b", False, 16.0, 2.0).rooms(cpus=1, gpus=0) == 0
