"""The manifest, what is concluded from it, and the lock: after every kind of end the next batch knows what to do."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posecli.batch import lock as lock_module
from posecli.batch.decide import decide, stamp
from posecli.batch.identity import Glance, content_sha256, glance_json
from posecli.batch.job import Job, OutputFiles
from posecli.batch.lock import HeldFile, folder_lock
from posecli.batch.manifest import History, Manifest, manifest_path
from posecli.batch.request import Shard
from posecli.errors import OutputError
from posecli.formats.run import run_report_path
from posecli.pipeline.journal import journal_path

Write = Callable[..., None]
HASH = "settings"


def test_what_is_appended_is_read_back_and_torn_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with Manifest(path) as manifest:
        manifest.append([{"event": "done", "output": "a"}, {"event": "done", "output": "b"}])
    whole = path.read_bytes()
    for cut in (1, 20, len(whole) // 2 + 30):
        path.write_bytes(whole[:-cut])
        with Manifest(path) as manifest:
            manifest.append([{"event": "failed", "output": "c"}])
        history = History.read(path)
        assert history.num_torn == 1 or cut == 1  # without its newline a line is whole
        assert [record["event"] for record in history.of("c")] == ["failed"]
        assert len(history.of("a")) == (1 if cut < len(whole) // 2 else 0)
        assert all(line.endswith(b"\n") for line in path.read_bytes().splitlines(keepends=True))
    path.write_bytes(b"\0" * 100 + b"\n[1]\n" + whole)
    assert History.read(path).num_torn == 2
    assert len(History.read(path).of("a")) == 1


def test_a_manifest_that_goes_away_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with Manifest(path) as manifest:
        path.unlink()
        with pytest.raises(OutputError, match="was removed"):
            manifest.append([{"event": "done"}])
        path.touch()
        (tmp_path / "other").touch()
        os.replace(tmp_path / "other", path)
        with pytest.raises(OutputError, match="was replaced"):
            manifest.append([{"event": "done"}])
    with pytest.raises(OutputError, match="cannot be written"):
        Manifest(tmp_path / "nowhere" / "manifest.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_is_an_error_that_says_so() -> None:
    with Manifest(Path("/dev/full")) as manifest, pytest.raises(OutputError, match="No space left"):
        manifest.append([{"event": "done"}])


def test_an_overwrite_goes_on_until_it_has_ended() -> None:
    begin = {"event": "begin", "overwrite": True, "settings_hash": HASH}
    a, b = ({"event": "done", "output": name} for name in "ab")

    def kept(*records: dict[str, Any]) -> list[str]:
        history = History(records).since_unfinished_overwrite(HASH)
        return [record["output"] for record in history.all("done")]

    assert kept(a, begin, b) == ["b"]
    assert kept(begin, a, begin, b) == ["a", "b"]
    assert kept(begin, a, {"event": "interrupted"}) == ["a"]
    assert kept(begin, a, {"event": "end"}) == []
    assert kept(begin, a, {"event": "end"}, begin, b) == ["b"]
    assert kept({**begin, "overwrite": False}, a) == []
    assert kept({**begin, "settings_hash": "other"}, a) == []
    assert kept(begin, a, {**begin, "overwrite": False}, b) == []


@pytest.fixture
def job(tmp_path: Path) -> Job:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"video")
    return Job(video, "clip.poses.json", OutputFiles(tmp_path / "clip.poses.json"))


@pytest.fixture
def write(job: Job) -> Write:
    def outputs(content: str = "poses") -> None:
        run_report_path(job.files.poses).write_text(json.dumps({"counts": {"frames": 5, "tracks": 2, "poses": 9}}))
        temporary = job.files.poses.with_suffix(".new")
        temporary.write_text(content)
        os.replace(temporary, job.files.poses)

    return outputs


def started(job: Job, **more: Any) -> dict[str, Any]:
    return {
        "event": "started",
        "output": job.name,
        "settings_hash": HASH,
        "input": glance_json(job.video),
        "before": glance_json(job.files.poses),
        "is_own": False,
        **more,
    }


def done(job: Job, **more: Any) -> dict[str, Any]:
    return {
        "event": "done",
        "output": job.name,
        "settings_hash": HASH,
        "input": glance_json(job.video),
        "sha256": content_sha256(job.video),
        "stamp": stamp(job.files.poses),
        "frames": 5,
        **more,
    }


def judge(job: Job, *records: dict[str, Any]) -> tuple[str, str]:
    decision = decide(job, History(records), HASH)
    return decision.verdict, decision.reason


def test_done_and_unchanged_is_skipped_also_after_copying_and_touching(job: Job, write: Write, tmp_path: Path) -> None:
    assert judge(job) == ("run", "not done yet")
    write()
    record = done(job)
    assert judge(job, started(job, before=None), record) == ("skip", "done before")
    os.utime(job.video, (1, 1))
    os.utime(job.files.poses, (2, 2))
    decision = decide(job, History([record]), HASH)
    assert decision.verdict == "skip"
    # the new time is noted: nothing has to be read the next time
    job.video.chmod(0o644)
    assert decision.facts["input"] == Glance.at(job.video).to_json()
    shutil.copy(job.files.poses, tmp_path / "copy")
    assert judge(job, record)[0] == "skip"


def test_whatever_has_changed_is_done_again_or_refused(job: Job, write: Write) -> None:
    write()
    record = done(job)
    assert judge(job, {**record, "settings_hash": "other"})[0] == "other settings"
    job.video.write_bytes(b"VIDEO")  # of the same length
    os.utime(job.video, (1, 1))
    assert judge(job, record) == ("run", "the video has changed")
    job.video.write_bytes(b"longer video")
    assert judge(job, record) == ("run", "the video has changed")
    run_report_path(job.files.poses).unlink()
    assert judge(job, done(job)) == ("run", "clip.poses.run.json is missing")
    job.files.poses.unlink()
    assert judge(job, record) == ("run", "not done yet")


def test_files_of_others_are_left_alone(job: Job, write: Write) -> None:
    write()
    assert judge(job)[0] == "foreign"
    record = done(job)
    write("edited by somebody, by hand")
    assert judge(job, started(job, before=None), record)[0] == "foreign"
    assert judge(job, started(job))[0] == "foreign"  # it was there before, and the batch did not get to write
    failed = {"event": "failed", "output": job.name, "after": None}
    assert judge(job, started(job, before=None), failed)[0] == "foreign"


def test_what_a_killed_batch_left_is_taken_over(job: Job, write: Write) -> None:
    start = started(job)
    write()
    assert judge(job, start)[0] == "adopt"
    assert decide(job, History([start]), HASH).facts["frames"] == 5
    journal_path(job.files.poses).touch()
    assert judge(job, start) == ("run", "not finished")
    journal_path(job.files.poses).unlink()
    assert judge(job, {**start, "settings_hash": "other"}) == ("run", "not finished")
    run_report_path(job.files.poses).unlink()
    assert judge(job, start) == ("run", "not finished")
    write()
    # an own file that was to be replaced, and was not: neither whole nor foreign
    assert judge(job, started(job, is_own=True)) == ("run", "not finished")
    failed = {"event": "failed", "output": job.name, "after": glance_json(job.files.poses)}
    assert judge(job, start, failed) == ("run", "not finished")


def test_folders_of_images_have_contents_too(tmp_path: Path) -> None:
    folder = tmp_path / "seq"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        (folder / name).write_text(name)
    before, glance = content_sha256(folder), Glance.at(folder)
    assert glance.num_bytes == 10
    (folder / "2.png").rename(folder / "3.png")
    assert content_sha256(folder) != before


def test_one_batch_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_PATIENCE_S", 0.1)
    with folder_lock(tmp_path, Shard()):
        for shard in (Shard(), Shard(1, 2)):
            with pytest.raises(OutputError, match="another batch is at work"), folder_lock(tmp_path, shard):
                pass
    with folder_lock(tmp_path, Shard(1, 2)), folder_lock(tmp_path, Shard(2, 2)):
        with pytest.raises(OutputError, match="another batch"), folder_lock(tmp_path, Shard(2, 3)):
            pass
        with pytest.raises(OutputError, match="another batch"), folder_lock(tmp_path, Shard(2, 2)):
            pass
    with folder_lock(tmp_path, Shard()):
        pass
    assert manifest_path(tmp_path, Shard(2, 3)).name == "manifest-2-of-3.jsonl"
    with pytest.raises(OutputError, match="cannot be written"), folder_lock(tmp_path / "nowhere", Shard()):
        pass


def hold(held: HeldFile, connection: Any) -> None:
    connection.send(held.fd)
    connection.recv()


def test_workers_hold_the_lock_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_PATIENCE_S", 0.1)
    ours, theirs = multiprocessing.Pipe()
    with folder_lock(tmp_path, Shard()) as fd:
        child = multiprocessing.get_context("spawn").Process(target=hold, args=(HeldFile(fd), theirs))
        child.start()
        assert ours.poll(60)
        ours.recv()
    with pytest.raises(OutputError, match="another batch"), folder_lock(tmp_path, Shard()):
        pass
    ours.send("go")
    child.join()
    with folder_lock(tmp_path, Shard()):
        pass
