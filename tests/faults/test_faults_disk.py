"""Disks that are full, read-only, or gone: what cannot be written is said, and the same command goes on when it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OUTPUT_ERROR = 7


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
