"""The journal survives torn writes, tells runs apart, and says where to go on."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from posecli.errors import OutputError
from posecli.pipeline import journal as journal_module
from posecli.pipeline.journal import Journal

RUN = {"input": "a", "settings": {"hop": 5}}


def write(path: Path, count: int, *, state_every: int = 2) -> None:
    with Journal(path, RUN) as journal:
        start = journal.resume.next_chunk if journal.resume else 0
        for chunk in range(start, count):
            has_state = chunk % state_every == state_every - 1
            journal.write_chunk(chunk, {"poses": [chunk]}, state={"n": chunk} if has_state else None)


def chunks(path: Path) -> list[int]:
    with Journal(path, RUN) as journal:
        return [record["chunk"] for record in journal.chunks()]


def test_a_journal_goes_on_after_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, 5)
    with Journal(path, RUN) as journal:
        assert journal.resume is not None
        assert (journal.resume.next_chunk, journal.resume.state) == (4, {"n": 3})
        assert [record["chunk"] for record in journal.chunks()] == [0, 1, 2, 3]


def test_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, 6)
    whole = path.read_bytes()
    for cut in (1, 5, 20, 60):
        path.write_bytes(whole[:-cut])
        assert chunks(path) == [0, 1, 2, 3]
        path.write_bytes(whole)
    assert chunks(path) == [0, 1, 2, 3, 4, 5]


def test_a_flipped_byte_ends_what_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, 6)
    content = bytearray(path.read_bytes())
    content[content.index(b'"chunk":2') + 8] ^= 1
    path.write_bytes(bytes(content))
    assert chunks(path) == [0, 1]


def test_another_run_starts_afresh_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, 4)
    with Journal(path, {**RUN, "input": "b"}) as journal:
        assert journal.is_foreign
        assert journal.resume is None
        assert list(journal.chunks()) == []


def test_a_file_that_is_no_journal_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"not a journal\n" * 3)
    with Journal(path, RUN) as journal:
        assert journal.resume is None
    assert chunks(path) == []


def test_outputs_are_remembered_across_runs(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, RUN) as journal:
        journal.write_chunk(0, {}, state={})
        journal.note_output(tmp_path / "overlay.mp4")
    with Journal(path, RUN) as journal:
        assert journal.written_outputs() == {"overlay.mp4"}
        assert journal.resume is not None
        journal.remove()
    assert not path.exists()


def test_two_runs_never_write_one_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_PATIENCE_S", 0.0)
    path = tmp_path / "j"
    with Journal(path, RUN) as first:
        first.write_chunk(0, {}, state={})
        before = path.read_bytes()
        for run in (RUN, {**RUN, "input": "b"}):
            with pytest.raises(OutputError, match="another run of posecli is writing this output"):
                Journal(path, run)
        assert path.read_bytes() == before
        first.write_chunk(1, {}, state={})
    assert chunks(path) == [0, 1]


def test_whoever_waits_begins_afresh_when_the_other_is_done(tmp_path: Path) -> None:
    path = tmp_path / "j"
    first = Journal(path, RUN)
    first.write_chunk(0, {}, state={})
    timer = threading.Timer(0.3, first.remove)
    timer.start()
    with Journal(path, RUN) as second:
        assert second.resume is None
        second.write_chunk(0, {}, state={})
    timer.join()
    assert chunks(path) == [0]


def test_the_journal_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    path = tmp_path / "j"
    code = (
        "import sys, time; from pathlib import Path; from posecli.pipeline.journal import Journal\n"
        f"journal = Journal(Path(sys.argv[1]), {RUN!r}); journal.write_chunk(0, {{}}, state={{}}); print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        holder.kill()
    assert chunks(path) == [0]
