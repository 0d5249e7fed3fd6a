from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import orjson

from posecli import __version__
from posecli.formats.run import UsedWeights, run_record, run_report_path, write_run_report


def record() -> dict:
    return run_record(
        settings={"smooth": True, "detect_every": 5},
        weights=[UsedWeights("pose", "glsmamba-s", "ab" * 32)],
        backend={"device": "cpu", "scan": "cpu"},
        warnings=["variable frame rate"],
    )


def test_the_record_holds_only_what_a_resumed_run_shares() -> None:
    facts = record()
    assert facts == record()
    assert set(facts) == {"posecli", "python", "dependencies", "weights", "settings", "backend", "warnings"}
    assert facts["posecli"] == __version__
    assert facts["weights"] == [{"role": "pose", "name": "glsmamba-s", "sha256": "ab" * 32}]
    assert facts["dependencies"]["numpy"]
    assert orjson.loads(orjson.dumps(facts)) == facts


def test_the_report_adds_what_changes(tmp_path: Path) -> None:
    path = run_report_path(tmp_path / "walk.poses.json")
    assert path.name == "walk.poses.run.json"
    write_run_report(
        path, record(), command=["posecli", "annotate", "a.mp4"], timings_s={"pose": 1.23456}, counts={"frames": 3}
    )
    report = orjson.loads(path.read_bytes())
    assert report["run"] == record()
    assert report["command"] == ["posecli", "annotate", "a.mp4"]
    assert report["timings_s"] == {"pose": 1.235}
    assert report["counts"] == {"frames": 3}
    assert report["cpu"]
    assert datetime.fromisoformat(report["created"]).utcoffset() is not None


def test_formats_load_neither_torch_nor_cv2(repository: Path) -> None:
    modules = [
        f"posecli.formats.{path.stem}"
        for path in (repository / "posecli/formats").glob("*.py")
        if path.stem != "__init__"
    ]
    code = f"import sys, {', '.join(modules)}; sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'av')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository, check=False).returncode == 0
