"""``posecli bench``: one quick run with a tiny network; the command's forms of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from posecli.benchmark import report as report_module
from posecli.benchmark.report import BenchReport, Request, run_benchmark
from posecli.cli.app import app

SAID: list[str] = []


@pytest.fixture(scope="module")
def report(tiny_weights: Path) -> BenchReport:
    return run_benchmark(Request(weights=str(tiny_weights), is_quick=True), SAID.append)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments], prog_name="posecli")


@pytest.fixture
def asked(report: BenchReport, monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The command with the measurement already made; what it asks for is noted."""
    requests: list[Request] = []

    def known(request: Request, say: object) -> BenchReport:
        requests.append(request)
        return report

    monkeypatch.setattr(report_module, "run_benchmark", known)
    return requests


def test_json_has_the_documented_keys(asked: list[Request]) -> None:
    result = run("--quick", "--json", "--threads", "1")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert set(content) == set(BenchReport.__dataclass_fields__)
    assert content["clock"] == "cpu"
    assert asked == [Request(is_quick=True)]


def test_stages_sum_up(report: BenchReport) -> None:
    stages = report.stages
    counted = [row for row in stages.rows if row.part_of is None and not row.is_optional]
    assert sum(row.share_percent or 0.0 for row in counted) == pytest.approx(100.0)
    assert sum(row.ms_per_frame for row in counted) == pytest.approx(stages.sum_ms_per_frame)
    for owner in {row.part_of for row in stages.rows} - {None}:
        parts = sum(row.ms_per_frame for row in stages.rows if row.part_of == owner)
        (whole,) = (row.ms_per_frame for row in stages.rows if row.stage == owner)
        assert parts == pytest.approx(whole)
    assert stages.sum_ms_per_frame == pytest.approx(stages.sum_ms_per_person_frame * stages.persons_per_frame)
    optional = [row.stage for row in stages.rows if row.is_optional]
    assert optional == ["draw overlay", "encode overlay"]


def test_every_stage_costs_something(report: BenchReport) -> None:
    names = [row.stage for row in report.stages.rows]
    assert {"decode", "detect", "track", "crop", "normalise", "encoder", "global blocks (GSM)", "journal"} <= set(names)
    assert all(row.ms_per_frame > 0 for row in report.stages.rows)
    assert report.whole_run.ms_per_frame > 0
    assert report.memory is not None
    assert report.memory.peak_mb > report.memory.libraries_mb > 50


def test_the_sections_are_complete(report: BenchReport) -> None:
    assert [(row.mode, row.hop) for row in report.window_modes] == [("clip", 5), ("clip", 3), ("key", 1)]
    assert [row.persons for row in report.persons] == [1, 4]
    assert [(row.width_px, row.height_px) for row in report.resolutions] == [(1280, 720), (1920, 1080)]
    assert report.threads_section[0].speed_up == 1.0
    assert report.scans is not None
    ratios = {row.backend: row.ratio for row in report.scans.rows}
    assert ratios[report.scan_backend] == pytest.approx(1.0)
    assert "annotate from end to end" in SAID


def test_the_tables_show_it(asked: list[Request]) -> None:
    result = run("--quick")
    assert result.exit_code == 0, result.stderr
    for text in ("load average", "processor time", "ms / person-frame", "selective scan", "1920x1080", "speed-up"):
        assert text in result.stdout, text


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--config", "glsmamba-z"], 2, "unknown pose config 'glsmamba-z'"),
        (["--config", "glsmamba-s", "--weights", "glsmamba-s"], 2, "were both given"),
        (["--video", "no-such-file.mp4"], 5, "no-such-file.mp4: no such file"),
    ],
)
def test_mistakes_are_told(arguments: list[str], exit_code: int, message: str) -> None:
    result = run(*arguments, "--quick")
    assert result.exit_code == exit_code
    assert message in result.stderr


def test_help_imports_nothing_heavy() -> None:
    probe = (
        "import sys\n"
        "from posecli.cli.app import app\n"
        "try: app(['bench', '--help'], prog_name='posecli')\n"
        "except SystemExit as end: code = end.code\n"
        "print('LOADED', sorted({'torch', 'cv2', 'av', 'numba', 'rich'} & set(sys.modules)), code)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED [] 0"
