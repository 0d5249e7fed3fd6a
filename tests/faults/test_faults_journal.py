"""A journal whose disk is full, or that somebody has taken away, says so; what others have put in its place is left alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from posecli.errors import OutputError
from posecli.pipeline.journal import Journal

CHUNK = {"frames": [[0, 0, 0.0, False]], "boxes": [], "poses": [], "colours": []}


def test_a_journal_taken_away_is_noticed_at_the_next_state(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, {"input": 1}) as journal:
        journal.write_chunk(0, CHUNK, state={"at": 1})
        path.unlink()
        with pytest.raises(OutputError, match="was removed"):
            journal.write_chunk(1, CHUNK, state={"at": 2})
        with pytest.raises(OutputError, match="was removed"):
            next(journal.chunks())
    assert not path.exists()


def test_the_journal_of_another_run_in_its_place_is_neither_read_nor_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path, {"input": 1}) as journal:
        journal.write_chunk(0, CHUNK, state={"at": 1})
        path.unlink()
        with Journal(path, {"input": 2}) as other:
            other.write_chunk(0, CHUNK, state={"at": 1})
        with pytest.raises(OutputError, match="was removed"):
            next(journal.chunks())
        with pytest.raises(OutputError, match="was removed"):
            journal.note_output(tmp_path / "poses.json")
        journal.remove()
    assert path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits are those of Linux")
def test_a_full_disk_is_an_output_error_whenever_it_is_noticed(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "journal"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(path, {"input": 1})
    journal.write_chunk(0, {**CHUNK, "poses": [0.5] * 1000}, state=None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            journal.note_output(tmp_path / "poses.json")
        with pytest.raises(OutputError, match="cannot be written"):
            journal.close()
        other = Journal(tmp_path / "other", {"input": 1})
        other.write_chunk(0, {**CHUNK, "poses": [0.5] * 1000}, state=None)
        other.remove()
        assert not other.path.exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
