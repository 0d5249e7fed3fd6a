"""Groups of hostile cases, each in a process of its own with a watchdog; a case that kills or hangs it costs that case only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RUNNER = Path(__file__).with_name("hostile_runner.py")
START_S = 240.0  # imports on a busy machine
CASE_S = 60.0
GOOD = ("fine", "refused")


@dataclass(frozen=True)
class Result:
    """How one case ended."""

    kind: str
    name: str
    outcome: str
    detail: str
    seconds: float


RunGroup = Callable[[str], list[Result]]


@pytest.fixture(scope="session")
def tally() -> Iterator[Counter[tuple[str, str]]]:
    """Cases by kind and outcome, of all groups that ran; printed at the end."""
    counted: Counter[tuple[str, str]] = Counter()
    yield counted
    sys.stdout.write(table(counted))


def table(counted: Counter[tuple[str, str]]) -> str:
    """Cases by kind (rows) and outcome (columns)."""
    outcomes = sorted({outcome for _, outcome in counted}, key=lambda o: (o not in GOOD, o))
    lines = ["", "".join([f"{'hostile input':<34}", *(f"{o:>10}" for o in outcomes), f"{'cases':>10}"])]
    for kind in [*dict.fromkeys(kind for kind, _ in counted), None]:
        row = [sum(n for (k, o), n in counted.items() if o == outcome and kind in (None, k)) for outcome in outcomes]
        lines.append("".join([f"{kind or 'all':<34}", *(f"{number:>10}" for number in (*row, sum(row)))]))
    return "\n".join([*lines, ""])


@pytest.fixture
def run_group(tmp_path: Path, tally: Counter[tuple[str, str]]) -> RunGroup:
    """Run ``hostile_GROUP.py`` to its end."""
    if sys.platform != "linux":
        pytest.skip("limits on memory are those of Linux")

    def run(group: str) -> list[Result]:
        results: list[Result] = []
        num_cases: int | None = None
        while num_cases is None or len(results) < num_cases:
            found, num_cases = _go_on(group, tmp_path, len(results))
            results += found
        tally.update((result.kind, result.outcome) for result in results)
        return results

    return run


def _go_on(group: str, folder: Path, first: int) -> tuple[list[Result], int]:
    """Run from case ``first`` on, until the end or until a case takes the process down."""
    notes = folder / "results.jsonl"
    notes.write_bytes(b"")
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(RUNNER), group, str(folder), str(first)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "POSECLI_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"},
        )
        try:
            reason = _watch(process, notes)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    lines = [json.loads(line) for line in notes.read_text().splitlines()]
    if not lines:
        raise AssertionError(f"group {group} did not start:\n{(folder / 'output.txt').read_text()[-3000:]}")
    results = _pair(lines, reason)
    if not results:
        raise AssertionError(f"group {group}: {reason}\n{(folder / 'output.txt').read_text()[-3000:]}")
    return results, lines[0]["count"]


def _watch(process: subprocess.Popen[bytes], notes: Path) -> str:
    """Wait for the end; a case that takes too long is the end."""
    size, since = 0, time.monotonic()
    while True:
        try:
            code = process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            now = notes.stat().st_size
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > (CASE_S if size else START_S):
                return "hang"
        else:
            return "fine" if code == 0 else f"crash {code}"


def _pair(lines: list[dict[str, Any]], reason: str) -> list[Result]:
    results: list[Result] = []
    begun: dict[str, Any] | None = None
    for line in lines:
        if line["event"] == "begin":
            begun = line
        elif line["event"] == "end" and begun is not None:
            results.append(Result(begun["kind"], begun["name"], line["outcome"], line["detail"], line["seconds"]))
            begun = None
    if begun is not None:
        results.append(Result(begun["kind"], begun["name"], reason.split()[0], reason, 0.0))
    return results
