"""Errors become one line, a hint and their exit code; bugs keep their traceback."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import posecli
from posecli import errors
from posecli.cli.app import ErrorBoundary, app
from posecli.errors import PoseCliError

CLIP = Path(__file__).resolve().parents[2] / "examples" / "rendered_people.mp4"
TREE = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, PoseCliError)]


def app_that_raises(error: BaseException) -> typer.Typer:
    broken = typer.Typer(cls=ErrorBoundary, rich_markup_mode=None, pretty_exceptions_enable=False)

    @broken.command()
    def fail() -> None:
        """Fail."""
        raise error

    @broken.command()
    def other() -> None:
        """Makes the app a group."""

    return broken


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "posecli", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", TREE, ids=[kind.__name__ for kind in TREE])
def test_each_error_has_its_exit_code_and_two_lines(kind: type[PoseCliError]) -> None:
    result = CliRunner().invoke(app_that_raises(kind("v.mp4: is broken", hint="mend it")), ["fail"])
    assert result.exit_code == kind.exit_code
    assert result.stdout == ""
    assert result.stderr == "error: v.mp4: is broken\nhint: mend it\n"


def test_an_error_without_remedy_is_one_line() -> None:
    result = CliRunner().invoke(app_that_raises(PoseCliError("no")), ["fail"])
    assert (result.exit_code, result.stderr) == (1, "error: no\n")


def test_memory_that_runs_out_anywhere_is_named() -> None:
    with pytest.raises(cv2.error) as of_opencv:
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (1 << 24, 1 << 20))
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(1 << 58, np.float32)
    for error in (of_opencv.value, of_numpy.value):
        result = CliRunner().invoke(app_that_raises(error), ["fail"])
        assert result.exit_code == 6
        assert result.stderr.startswith("error: memory ran out: ")
        assert result.stderr.count("\n") == 2
    bug = CliRunner().invoke(app_that_raises(RuntimeError("shapes differ")), ["fail"])
    assert (bug.exit_code, type(bug.exception)) == (1, RuntimeError)


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "LONG"),
        ("annotate", "LONG", "--out", "x.json"),
        ("annotate", "CLIP", "--out", "LONG"),
        ("annotate", "CLIP", "--out", "x.json", "--weights", "LONG"),
        ("render", "LONG", "--out", "x.mp4"),
        ("lift", "LONG", "--out", "x.json"),
        ("batch", "LONG", "--out-dir", "x"),
        ("batch", "CLIP", "--out-dir", "LONG"),
        ("evaluate", "keypoints", "--annotations", "LONG", "--predictions", "LONG"),
        ("weights", "path", "LONG"),
    ],
    ids=" ".join,
)
def test_a_name_that_no_file_can_have(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("POSECLI_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    long = "x" * 300 + ".mp4"
    result = CliRunner().invoke(app, [{"LONG": long, "CLIP": str(CLIP)}.get(word, word) for word in arguments])
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (2, 4, 5, 7)
    assert long in "".join(result.stderr.split())


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_names_that_are_no_text_are_printed_all_the_same(tmp_path: Path) -> None:
    odd = tmp_path / "a\udcff.mp4"
    odd.write_bytes(CLIP.read_bytes())
    for arguments in (("info", str(odd)), ("info", str(odd), "--json"), ("info", str(odd) + "x")):
        result = run_script(*arguments)
        assert "Traceback" not in result.stderr
        assert any(shown in result.stdout + result.stderr for shown in ("\\xff.mp4", "\\udcff.mp4"))


def test_interrupt_exits_130() -> None:
    result = CliRunner().invoke(app_that_raises(KeyboardInterrupt()), ["fail"])
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")


def test_a_bug_keeps_its_traceback() -> None:
    bug = ZeroDivisionError("our fault")
    result = CliRunner().invoke(app_that_raises(bug), ["fail"])
    assert result.exception is bug


def test_the_real_command_prints_no_traceback() -> None:
    done = run_script("weights", "path", "nonsense")
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown weights 'nonsense'\nhint: known names: ")
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_quiet() -> None:
    reader = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.PIPE)
    assert reader.stdin is not None
    reader.wait()
    done = subprocess.run(
        [sys.executable, "-m", "posecli", "--version"],
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    reader.stdin.close()
    assert done.stderr == ""
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-command"], "No such command 'no-such-command'."),
        (["inof", "x"], "Did you mean 'info'?"),
        (["info"], "Missing argument 'VIDEO'."),
        (["info", "x", "--nonsense"], "No such option: --nonsense"),
        (["lift", "poses.json"], "Missing option '--out'"),
    ],
)
def test_usage_errors_exit_2(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, arguments, prog_name="posecli")
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"posecli {posecli.__version__}\n")


def test_every_command_has_help_with_a_sentence() -> None:
    root = typer.main.get_command(app)
    names = list(getattr(root, "commands"))  # noqa: B009 - typer keeps the type of groups to itself
    assert {"info", "render", "weights", "doctor"} <= set(names)
    for name in names:
        result = CliRunner().invoke(app, [name, "--help"], prog_name="posecli")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[0].startswith(f"Usage: posecli {name} ")
        assert lines[2].strip().rstrip(".") != ""
