"""What somebody has put in the place of the books, or of the video, is noticed; what is shown costs no time that work needs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REPLACED = Path(__file__).with_name("fault_replaced.py")
JOURNAL = ".a.poses.json.journal"
INPUT_ERROR, OUTPUT_ERROR = 5, 7


@pytest.mark.parametrize("what", ["device", "line"])
def test_a_manifest_without_end_is_refused(what: str, make_bench: Callable[..., Any]) -> None:
    bench = make_bench("manifest without end")
    bench.out.mkdir()
    manifest = bench.out / "manifest.jsonl"
    if what == "device":
        manifest.symlink_to("/dev/zero")
    else:
        manifest.touch()
        os.truncate(manifest, 1 << 40)  # a hole: takes no space
    batch = bench.start()
    assert batch.wait() == OUTPUT_ERROR
    assert str(manifest) in batch.said.replace("\n", "")
    assert batch.said.count("\n") <= 3
    manifest.unlink()
    bench.check()


def test_a_journal_without_end_is_refused(make_bench: Callable[..., Any]) -> None:
    bench = make_bench("journal without end")
    bench.out.mkdir()
    (bench.out / JOURNAL).symlink_to("/dev/zero")
    run = bench.annotate("a.mp4")
    assert run.wait() == OUTPUT_ERROR
    assert "is not a file" in run.said
    (bench.out / JOURNAL).unlink()
    bench.check()


def test_a_journal_line_is_read_as_far_as_lines_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from posecli.errors import OutputError
    from posecli.pipeline import lines
    from posecli.pipeline.journal import Journal

    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "journal"
    with Journal(path, {"input": 1}) as journal:
        journal.write_chunk(0, {"poses": [0]}, state={})
    with path.open("ab") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(OutputError, match="more than 1000 bytes"):
        Journal(path, {"input": 1})


@pytest.mark.parametrize("when", ["opened", "read"])
def test_input_of_annotate_replaced(when: str, make_bench: Callable[..., Any]) -> None:
    bench = make_bench("input replaced")
    video = bench.videos / "a.mp4"
    original, times = video.read_bytes(), video.stat()
    if when == "opened":
        bench.out.mkdir()
        run = bench.annotate("a.mp4", prelude=REPLACED)
    else:
        with bench.watch() as watch:
            run = bench.annotate("a.mp4")
            assert run.wait_for(watch, "create", r"\.a\.overlay\.\w{8}\.partial\.mp4") is not None
        os.utime(video)
    code = run.wait()
    video.write_bytes(original)
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert code == INPUT_ERROR
    assert "has changed" in run.said
    assert [path.name for path in bench.out.glob("[!.]*") if path.is_file()] == []
    bench.settle()
    bench.check()
    run = bench.annotate("a.mp4")
    assert run.wait() == 0, run.said
    for name in ("a.poses.json", "a.overlay.mp4"):
        assert (bench.out / name).read_bytes() == bench.expected[name]


def test_showing_how_it_gets_on_takes_a_small_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from posecli.batch.engine import LocalEngine
    from posecli.batch.manifest import History
    from posecli.batch.request import BatchRequest
    from posecli.batch.survey import Survey
    from posecli.pipeline.settings import AnnotateSettings

    request = BatchRequest(inputs=(), out_dir=tmp_path, settings=AnnotateSettings())
    num_shown = 0

    def show(status: object) -> None:
        nonlocal num_shown
        num_shown += 1
        time.sleep(0.02)

    ledger: Any = None
    engine = LocalEngine(request, Survey(History([])), ledger, show, -1)
    monkeypatch.setattr(engine, "status", lambda: None)
    monkeypatch.setattr(engine, "_wait", lambda: None)
    for _ in range(20):
        engine._step()
    assert num_shown <= 2
