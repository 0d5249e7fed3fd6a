"""The journal survives torn writes, tells runs apart, and says where to go on."""

from __future__ import annotations

from pathlib import Path

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
