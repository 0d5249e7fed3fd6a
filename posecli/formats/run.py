"""Provenance: which posecli, which weights, which settings.

Two places, because a resumed run must end with the same bytes as an uninterrupted one: the *run record* goes into the poses file and
holds only facts that do not change between such runs; the *run report* beside it (``NAME.run.json``) adds command line, date,
machine and timings.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from posecli import __version__
from posecli.atomic import write_atomic
from posecli.json_bytes import json_bytes

_DEPENDENCIES = ("torch", "numpy", "scipy", "opencv-python-headless", "av", "numba", "triton")


@dataclass(frozen=True, slots=True)
class UsedWeights:
    """Weights that took part in a run: what for (``pose``, ``detector``), registry name or path, digest of the file."""

    role: str
    name: str
    sha256: str


def run_record(
    *,
    settings: Mapping[str, Any],
    weights: Sequence[UsedWeights],
    backend: Mapping[str, str],
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The deterministic facts of a run, for ``Annotation.run``.

    Args:
        settings: Every setting that decides the result, JSON values only.
        weights: The weights used.
        backend: What computed, such as ``{"device": "cpu", "scan": "cpu"}``.
        warnings: What the user should know about the input (variable frame rate, corrupt frames).

    Returns:
        A JSON object without dates, durations or machine names.
    """
    return {
        "posecli": __version__,
        "python": platform.python_version(),
        "dependencies": _installed_versions(),
        "weights": [asdict(used) for used in weights],
        "settings": dict(settings),
        "backend": dict(backend),
        "warnings": list(warnings),
    }


def run_report_path(output: Path) -> Path:
    """Where the run report of an output file lies: ``poses.json`` -> ``poses.run.json``."""
    return output.with_name(f"{output.stem}.run.json")


def write_run_report(
    path: Path,
    record: Mapping[str, Any],
    *,
    command: Sequence[str],
    timings_s: Mapping[str, float],
    counts: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> None:
    """Write what a run took and where it ran, beside its output.

    Args:
        path: The file to be written, see `run_report_path`.
        record: The run record that went into the output.
        command: The command line, word by word.
        timings_s: Seconds by stage.
        counts: Numbers worth knowing (frames, persons, windows).
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: See `posecli.atomic.check_output`.
    """
    report = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "num_cpus": os.cpu_count(),
        "timings_s": {stage: round(seconds, 3) for stage, seconds in timings_s.items()},
        "counts": dict(counts or {}),
        "run": dict(record),
    }
    write_atomic(path, json_bytes(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE), overwrite=overwrite)


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in _DEPENDENCIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _cpu_name() -> str:
    """The processor's own name; ``platform.processor()`` is empty on most Linux systems."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = (
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        )
        return next(names, platform.machine())
    return platform.processor() or platform.machine()
