"""``posecli batch`` as a user meets it: what it says, in words and in JSON, before, during and after."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from posecli.batch import lock as lock_module
from posecli.batch.ledger import Tally
from posecli.batch.lock import folder_lock
from posecli.batch.request import Shard
from posecli.batch.status import Status, WorkerStatus
from posecli.batch.summary import Summary
from posecli.cli.app import app
from posecli.cli.batch_report import Reporter, clock, print_summary

MakeVideo = Callable[..., Path]


def batch(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["batch", *map(str, arguments)])


@pytest.fixture
def videos(tmp_path: Path, make_video: MakeVideo) -> Path:
    folder = tmp_path / "videos"
    (folder / "sub").mkdir(parents=True)
    make_video(folder / "a.mp4", 25, (96, 64))
    make_video(folder / "sub" / "b.mp4", 40, (96, 64))
    (folder / "broken.mp4").write_bytes(b"")
    return folder


def test_from_the_plan_to_the_summary_and_once_more(videos: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out, log = tmp_path / "poses", tmp_path / "log.jsonl"
    common = (videos, "--out-dir", out, "--weights", tiny_weights, "--detector", "full-frame", "--workers", 1)
    first = batch(*common, "--verbose", "--log-file", log)
    assert first.exit_code == 3, first.output
    for words in (
        "3 videos in",
        "done          2   65 frames",
        "failed        1",
        "is empty (0 bytes)",
        "record it again",
    ):
        assert words in first.stdout
    assert f"{videos / 'a.mp4'}: done in" in first.stderr
    assert f"{videos / 'broken.mp4'}: failed: is empty" in first.stderr
    assert json.loads(log.read_text().splitlines()[-1])["event"] == "end"

    (videos / "broken.mp4").unlink()
    plan = batch(*common, "--dry-run", "--json")
    assert plan.exit_code == 0, plan.output
    assert {Path(row["video"]).name: row["what"] for row in json.loads(plan.stdout)["rows"]} == {
        "a.mp4": "skip: done before",
        "b.mp4": "skip: done before",
    }
    again = batch(*common, "--json")
    assert again.exit_code == 0, again.output
    *records, summary = map(json.loads, again.stdout.splitlines())
    assert [record["event"] for record in records] == ["skipped", "skipped"]
    assert (summary["event"], summary["skipped"], summary["done"]) == ("summary", 2, 0)
    assert again.stderr == ""


def test_a_plan_knows_lengths_and_measures_the_speed(videos: Path, tmp_path: Path, tiny_weights: Path) -> None:
    out = tmp_path / "poses"
    plan = batch(
        videos, "--out-dir", out, "--weights", tiny_weights, "--detector", "full-frame", "--dry-run", "--limit", 2
    )
    assert plan.exit_code == 0, plan.output
    assert not out.exists()
    rows = {line.split()[0].rpartition("/")[2]: line for line in plan.stdout.splitlines() if ".mp4" in line}
    assert "not done yet" in rows["a.mp4"]
    assert "1.0 s" in rows["a.mp4"]
    assert " 25 " in rows["a.mp4"]
    assert "cannot be read" in rows["broken.mp4"]
    assert "beyond the limit" in rows["b.mp4"]
    assert "2 to do, about" in plan.stdout
    assert "measured on" in plan.stdout
    assert "measuring the speed" in plan.stderr


@pytest.mark.parametrize(
    ("options", "exit_code", "word"),
    [
        (["--shard", "3/2"], 2, "3/2"),
        (["--timeout", "-1"], 2, "timeout"),
        (["--persons", "tallest"], 2, "tallest"),
        (["--detector", "boxes"], 2, "boxes"),
        (["--weights", "no-such-model"], 4, "no-such-model"),
        (["--workers", "0"], 2, "workers"),
        (["no-such-folder"], 5, "no-such-folder"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_done(
    videos: Path, tmp_path: Path, options: list[str], exit_code: int, word: str
) -> None:
    result = batch(videos, "--out-dir", tmp_path / "poses", *options)
    assert result.exit_code == exit_code, result.output
    assert word in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.rglob("*.poses.json"))


def test_folders_that_do_not_serve_are_one_line(
    videos: Path, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "_PATIENCE_S", 0.05)
    out = tmp_path / "poses"
    out.write_text("a file")
    assert "is a file" in batch(videos, "--out-dir", out, "--weights", tiny_weights).stderr
    out.unlink()
    out.mkdir()
    with folder_lock(out, Shard()):
        result = batch(videos, "--out-dir", out, "--weights", tiny_weights)
    assert result.exit_code == 7
    assert "another batch is at work" in result.stderr
    assert "--shard" in result.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    assert batch(empty, "--out-dir", out, "--weights", tiny_weights).exit_code == 5


def failure(number: int) -> dict[str, Any]:
    video = f"videos/clip{number}.mp4"
    return {"video": video, "message": f"{video}: is broken in a way that takes many words to tell", "hint": "copy it"}


def test_the_summary_says_what_to_do_about_each(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    done = {"video": "videos/good.mp4", "warnings": ["2 corrupt frames; their poses are interpolated"]}
    tally = Tally(done=[done], warned=[done], failed=[failure(k) for k in range(120)], frames=300)
    print_summary(Summary(tally, 4, 100.0, True, (), tmp_path / "manifest.jsonl"))
    out = capsys.readouterr().out
    assert "125 videos in 1:40 (interrupted)" in out
    assert "left          4" in out
    assert "300 frames, 3.0 frames a second, 1 with warnings" in out
    assert "2 corrupt frames" in out
    assert out.count("copy it") == 100
    assert "... and 20 more: see summary.json" in out
    assert "is broken in a way" in out
    assert "clip0.mp4: is" not in out  # the path is in its own column


def test_the_live_table_shows_every_worker() -> None:
    shown: list[Any] = []
    busy = WorkerStatus(1, 4711, "annotate", "videos/" + "x" * 80 + ".mp4", 120, 900, 3.0)
    loading = WorkerStatus(2, 4712, "loading", None, 0, None, 1.0)
    Reporter(shown.append, as_json=False, is_verbose=False).show(
        Status(56, 12, 1, 3, 40, 4000, 45.25, 3725.0, 88.0, (busy, loading))
    )
    terminal = io.StringIO()
    Console(file=terminal, width=120).print(shown[0])
    head, first, second = terminal.getvalue().splitlines()
    assert head == "videos: 12 done, 1 failed, 3 skipped, 40 left of 56   45.2 frames/s   1:28   eta 1:02:05"
    assert "120 / 900" in first
    assert first.count("x") == 53
    assert "loading" in second


def test_without_a_terminal_nothing_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(None, as_json=False, is_verbose=False)
    reporter.show(Status(1, 0, 0, 0, 1, 0, None, None, 0.0, ()))
    reporter.watch({"event": "done", "video": "a.mp4"})
    assert capsys.readouterr() == ("", "")
    reporter.watch({"event": "remark", "message": "worker 2 died (signal 9); going on with 1"})
    assert "worker 2 died" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1:01"), (3599.7, "1:00:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
