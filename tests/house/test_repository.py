"""The checkout itself: versions agree, the README's commands exist, the wheel is complete, no machine's paths."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import posecli
from posecli import errors
from posecli.cli.app import app
from posecli.errors import PoseCliError

# Put together here, so that this file does not contain them.
FORBIDDEN = ["/" + "work/", "/" + "opt/", "/" + "root/", "/" + "home/", "down" + "load.pytorch.org"]
TEXT_SUFFIXES = {"", ".py", ".md", ".toml", ".txt", ".json", ".yml", ".yaml", ".cfg", ".sh"}
FOLDERS = ("posecli", "tests", "examples", "weights", ".ci")


def text_files(repository: Path) -> Iterator[Path]:
    inside = (path for folder in FOLDERS for path in sorted((repository / folder).rglob("*")))
    for path in (*sorted(repository.iterdir()), *inside):
        if path.is_file() and path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts:
            yield path


def test_no_weights_name_a_machine(repository: Path) -> None:
    """Training writes its recipe into the weights, and with it where the initial ones lay."""
    headers = {path.name: read_header(path) for path in sorted((repository / "weights").glob("*.safetensors"))}
    assert headers
    assert [f"{name}: {word}" for name, header in headers.items() for word in FORBIDDEN if word in header] == []


def read_header(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(int.from_bytes(stream.read(8), "little")).decode()


def test_no_file_names_a_machine(repository: Path) -> None:
    files = list(text_files(repository))
    found = [
        f"{path.relative_to(repository)}: {word}"
        for path in files
        for word in FORBIDDEN
        if word in path.read_text(encoding="utf-8")
    ]
    assert repository / "pyproject.toml" in files
    assert found == []


def test_versions_agree(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    newest = re.search(r"^## (\d\S*)", (repository / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert newest is not None
    assert newest[1] == project["version"] == posecli.__version__


def test_readme_commands_exist(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), flags=re.MULTILINE))
    said = set(re.findall(r"^\s*make ([a-z-]+)|`make ([a-z-]+)", readme, flags=re.MULTILINE))
    made = {first or second for first, second in said}
    assert {"demo", "test"} <= made
    assert made <= targets


def test_make_help_lists_every_verb(repository: Path) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (repository / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    listed = subprocess.run(["make", "help"], cwd=repository, capture_output=True, text=True, check=True).stdout
    for verb in set(phony[1].split()) - {"all"}:
        assert re.search(rf"^  {verb} +\S", listed, flags=re.MULTILINE), verb


def test_ci_runs_the_test_command_of_the_readme(repository: Path) -> None:
    script = repository / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert re.search(r"^make test\b", script.read_text(), flags=re.MULTILINE)


def test_lock_satisfies_the_declared_ranges(repository: Path) -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    lines = (repository / "constraints.txt").read_text().splitlines()
    locked = dict(line.lower().split("==") for line in lines if line and not line.startswith("#"))
    for line in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        requirement = Requirement(line)
        assert requirement.specifier.contains(locked[requirement.name.lower()]), line


def test_the_wheel_carries_the_weights_and_the_type_marker(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=repository, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    weights = {f"posecli/_weights/{path.name}" for path in (repository / "weights").glob("*.safetensors")}
    assert weights | {"posecli/_weights/manifest.json", "posecli/py.typed", "posecli/cli/app.py"} <= inside


def test_help_documents_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["--help"], prog_name="posecli")
    shown = set(map(int, re.findall(r"^    (\d+) +\S", capsys.readouterr().out, flags=re.MULTILINE)))
    codes = {
        kind.exit_code for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, PoseCliError)
    }
    assert shown == {0, errors.EXIT_WARNINGS, errors.EXIT_INTERRUPTED, *codes}


def test_readme_mentions_every_command(repository: Path) -> None:
    """From the program's own help, so a new command cannot be forgotten."""
    from typer.testing import CliRunner

    from posecli.cli.app import app

    help_text = CliRunner().invoke(app, ["--help"]).stdout.split("Commands:")[1]
    commands = re.findall(r"^  ([a-z][a-z-]+) ", help_text, flags=re.MULTILINE)
    assert len(commands) >= 7
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert [name for name in commands if f"posecli {name}" not in readme] == []
