"""Data goes to stdout, words to stderr, progress only to a terminal."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from posecli.cli import console


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    return Terminal()


@dataclass
class Row:
    name: Path
    rate: Fraction


def test_json_takes_what_commands_have(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"rows": [Row(Path("a.mp4"), Fraction(30000, 1001))], "array": np.array([1.5, np.nan])})
    out = capsys.readouterr().out
    assert json.loads(out) == {"rows": [{"name": "a.mp4", "rate": "30000/1001"}], "array": [1.5, None]}
    with pytest.raises(TypeError):
        console.print_json({"x": object()})


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table([{"name": "long name", "n": 1}, {"name": "x", "n": 20}])
    console.print_table([])
    assert capsys.readouterr().out == "NAME       N\nlong name  1\nx          20\n"


def test_quiet_silences_remarks_but_not_warnings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console.info("hello")
    monkeypatch.setenv("POSECLI_QUIET", "1")
    console.info("not said")
    console.warn("odd")
    captured = capsys.readouterr()
    assert captured.err == "hello\nwarning: odd\n"
    assert captured.out == ""


def test_progress_shows_counts_and_speeds_on_a_terminal(terminal: Terminal) -> None:
    with contextlib.redirect_stderr(terminal), console.progress("decode") as report:
        report(3, 40, {"pose": 12.4})
    shown = terminal.getvalue()
    assert "decode" in shown
    assert "3/40" in shown
    assert "pose 12/s" in shown


def test_a_new_stage_renames_the_line(terminal: Terminal) -> None:
    with contextlib.redirect_stderr(terminal), console.progress("annotate") as report:
        report.stage("annotate", 40, 40, {"decode": 99.6})
        report.stage("overlay", 2, 40, {})
    last = terminal.getvalue().rpartition("overlay")[2]
    assert "2/40" in last
    assert "decode" not in last


def test_messages_stay_above_the_progress_line(terminal: Terminal) -> None:
    with contextlib.redirect_stderr(terminal), console.progress("fetch", unit="bytes") as report:
        report(1000, 2000)
        console.warn("odd")
    assert "warning: odd" in terminal.getvalue()
    assert "1.0/2.0 kB" in terminal.getvalue()


@pytest.mark.parametrize("variable", ["NO_COLOR", "CI", "POSECLI_QUIET"])
def test_progress_keeps_still_when_told(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    with contextlib.redirect_stderr(terminal), console.progress("decode") as report:
        report(3, 40)
    assert terminal.getvalue() == ""


def test_progress_keeps_still_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("decode") as report:
        report(3, 40)
    assert capsys.readouterr().err == ""
