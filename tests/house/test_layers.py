"""Arrows point downwards; what must start fast imports nothing heavy; what is imported is declared."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

HEAVY = ("torch", "cv2", "av", "numba", "scipy")
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "mamba_ssm": "mamba-ssm", "faster_coco_eval": "faster-coco-eval"}
COMES_ALONG = {"triton", "llvmlite"}  # with the CUDA builds of torch, with numba


def imported_packages(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.split(".")[0])
    return found


def test_rooms_import_downwards_only(repository: Path) -> None:
    command = [str(Path(sysconfig.get_path("scripts")) / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_import_is_declared(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(line for name, lines in extras.items() if name != "dev" for line in lines)]
    names = {line.split(">")[0].split("<")[0].split("=")[0] for line in declared}
    imported = {name for path in (repository / "posecli").rglob("*.py") for name in imported_packages(path.read_text())}
    foreign = {DISTRIBUTIONS.get(name, name) for name in imported - sys.stdlib_module_names - COMES_ALONG - {"posecli"}}
    assert "numpy" in foreign
    assert sorted(foreign - names) == []


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["info"], 2),
        (["info", "no-such-file.mp4"], 5),
        (["render", "no-such-file.json", "--out", "overlay.mp4"], 5),
        (["weights", "path", "no-such-name"], 4),
    ],
    ids=["help", "version", "usage", "video", "poses", "weights"],
)
def test_help_and_mistakes_import_nothing_heavy(arguments: list[str], exit_code: int, tmp_path: Path) -> None:
    probe = (
        "import sys\n"
        "from posecli.cli.app import app\n"
        "try: app(sys.argv[1:], prog_name='posecli')\n"
        "except SystemExit as end: code = end.code\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-c", probe, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert done.returncode == exit_code, done.stderr


def test_help_is_there_at_once() -> None:
    """Processor time: what the clock says depends on who else is at work."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "posecli", "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert 0 < min(seconds) < 0.5
