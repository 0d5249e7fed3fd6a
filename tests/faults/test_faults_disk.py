"""Disks that are full, read-only, or gone: what cannot be written is said, and the same command goes on when it can."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

JOURNAL = r"\.a\.poses\.json\.journal"
OUTPUT_ERROR = 7
NO_SPACE = "No space left on device"


@contextmanager
def small_disk(bench: Any, host: Any) -> Iterator[Path]:
    """The output folder is a disk of 4 kB, until the end; as the test sees it."""
    if not host.can_mount:
        pytest.skip("may not mount a small disk here")
    bench.out.mkdir()
    bench.settle()
    host.do("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(bench.out))
    try:
        yield host.view(bench.out)
    finally:
        host.do("umount", str(bench.out))


def test_disk_full_again_and_again(make_bench: Callable[..., Any], host: Any) -> None:
    bench = make_bench("disk full")
    codes = []
    with small_disk(bench, host) as disk:
        for size_kb in (4, 40, 120):
            host.do("mount", "-o", f"remount,size={size_kb}k", str(bench.out))
            batch = bench.start()
            codes.append(batch.wait())
            if codes[-1] == OUTPUT_ERROR:
                assert NO_SPACE in batch.plainly_said
                assert str(bench.out) in batch.plainly_said
                assert batch.said.count("\n") <= 4
            else:
                failures = [r for r in _records(disk / "manifest.jsonl") if r["event"] == "failed"]
                assert failures
                assert all(NO_SPACE in r["message"] and str(bench.out) in r["message"] for r in failures)
            assert not list(disk.rglob("*.partial.*"))
            bench.check(out=disk)
        assert OUTPUT_ERROR in codes
        assert set(codes) <= {3, OUTPUT_ERROR}
        host.do("mount", "-o", "remount,size=64m", str(bench.out))
        batch = bench.start()
        assert batch.wait() == 0, batch.said
        bench.check(is_complete=True, out=disk)


def test_disk_full_for_annotate(make_bench: Callable[..., Any], host: Any) -> None:
    bench = make_bench("disk full")
    with small_disk(bench, host) as disk:
        for size_kb in (4, 100):
            host.do("mount", "-o", f"remount,size={size_kb}k", str(bench.out))
            run = bench.annotate("a.mp4")
            assert run.wait() == OUTPUT_ERROR, run.said
            assert NO_SPACE in run.plainly_said
            assert str(bench.out) in run.plainly_said
            assert not list(disk.rglob("*.partial.*"))
            bench.check(out=disk)
        host.do("mount", "-o", "remount,size=64m", str(bench.out))
        run = bench.annotate("a.mp4")
        assert run.wait() == 0, run.said
        for name in ("a.poses.json", "a.overlay.mp4"):
            assert (disk / name).read_bytes() == bench.expected[name]


def _records(manifest: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_bytes().splitlines()]


def test_read_only_disk(make_bench: Callable[..., Any], host: Any) -> None:
    bench = make_bench("read-only output")
    if host.can_mount:
        bench.out.mkdir()
        host.do("mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(bench.out))
        try:
            batch = bench.start()
            assert batch.wait() == OUTPUT_ERROR
            assert "Read-only file system" in batch.said
            bench.check()
        finally:
            host.do("umount", str(bench.out))
    below = bench.root / "folder" / "file"
    below.write_text("mine")
    bench.settle()
    batch = bench.start(out=below / "poses")
    assert batch.wait() == OUTPUT_ERROR
    assert str(below) in batch.said
    assert batch.said.count("\n") <= 3
    bench.check()


def test_files_that_may_not_grow(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("file size limit")
    batch = bench.start(limits={"file": 40_000})
    assert batch.wait() == 3
    assert "File too large" in batch.said
    bench.check()
    assert (bench.out / "sub" / "c.poses.json").exists()  # the small one has room
    bench.finish()


def test_a_log_that_takes_nothing(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("disk full")
    batch = bench.start("--log-file", "/dev/full")
    assert batch.wait() == OUTPUT_ERROR
    assert NO_SPACE in batch.plainly_said
    assert "/dev/full" in batch.plainly_said
    bench.check()


@pytest.mark.parametrize("is_followed", [False, True], ids=["removed", "removed and another batch at once"])
def test_output_folder_removed_meanwhile(is_followed: bool, make_bench: Callable[..., Any]) -> None:
    bench = make_bench("output folder removed")
    gone = bench.root.with_name("gone")
    with bench.watch() as watch:
        batch = bench.start()
        assert batch.wait_for(watch, "write", JOURNAL) is not None
    bench.out.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
    other = bench.start() if is_followed else None
    assert batch.wait() in (3, OUTPUT_ERROR)
    assert "removed" in batch.plainly_said or "replaced" in batch.plainly_said, batch.said
    if other is not None:
        assert other.wait() == 0, other.said
    shutil.rmtree(gone, ignore_errors=True)
    bench.check()
    bench.finish()


@pytest.mark.parametrize("when", ["journal", "overlay"])
def test_output_folder_of_annotate_removed(when: str, make_bench: Callable[..., Any]) -> None:
    bench = make_bench("output folder removed")
    kind, name = {"journal": ("write", JOURNAL), "overlay": ("create", r"\.a\.overlay\.\w{8}\.partial\.mp4")}[when]
    with bench.watch() as watch:
        run = bench.annotate("a.mp4")
        assert run.wait_for(watch, kind, name) is not None
    bench.out.rename(bench.root.with_name("gone"))
    shutil.rmtree(bench.root.with_name("gone"), ignore_errors=True)
    assert run.wait() == OUTPUT_ERROR, run.said
    assert str(bench.out) in run.plainly_said
    assert run.said.count("\n") <= 4
    assert not bench.out.exists()
    bench.check()
    bench.out.mkdir()
    run = bench.annotate("a.mp4")
    assert run.wait() == 0, run.said
    for each in ("a.poses.json", "a.overlay.mp4"):
        assert (bench.out / each).read_bytes() == bench.expected[each]
