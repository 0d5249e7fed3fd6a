"""posecli opens no connection unless asked to fetch something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BLOCKED = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened")

class Refused(socket.socket):
    __init__ = refuse

socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refuse
from posecli.cli.app import app
"""


def run_blocked(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKED + code], capture_output=True, text=True, check=False)


def test_doctor_works_without_sockets() -> None:
    done = run_blocked("app(['doctor', '--json'], prog_name='posecli')")
    findings = json.loads(done.stdout)
    assert [row for row in findings if row["status"] == "failed"] == []
    assert done.returncode == 0, done.stderr


def test_annotate_works_without_sockets(repository: Path, tmp_path: Path) -> None:
    """The embedded weights on the example clip: what `make demo` does, half a second of it."""
    out = tmp_path / "poses.json"
    clip = repository / "examples" / "rendered_people.mp4"
    arguments = [
        "annotate",
        str(clip),
        "--start",
        "3",
        "--end",
        "3.5",
        "--out",
        str(out),
        "--overlay",
        str(tmp_path / "overlay.mp4"),
    ]
    done = run_blocked(f"app({arguments!r}, prog_name='posecli')")
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_text())
    assert len(content["images"]) == 15
    assert len({row["track_id"] for row in content["annotations"]}) == 3


def test_the_block_blocks() -> None:
    done = run_blocked("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/', timeout=1)")
    assert done.returncode != 0
    assert "a socket was opened" in done.stderr
