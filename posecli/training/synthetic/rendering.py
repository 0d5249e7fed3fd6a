"""Rendering many windows: shard by shard, in several processes, to be continued at any time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import orjson

from posecli.atomic import write_atomic
from posecli.errors import ConfigError, FormatError, OutputError
from posecli.training.synthetic.assets import AssetPaths, Assets, describe, open_assets
from posecli.training.synthetic.shards import WINDOWS_PER_SHARD, count_windows, shard_name, write_shard
from posecli.training.synthetic.window import STYLES, WindowStyle, render_window

RENDERER_VERSION = 3  # other pictures for the same seed: another number
_RECORD = "rendering.json"


@dataclass(frozen=True, slots=True)
class _Job:
    number: int
    first: int
    count: int


def render_windows(
    paths: AssetPaths,
    folder: Path,
    *,
    count: int,
    seed: int,
    style: str = "usual",
    num_workers: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Render windows 0 to ``count`` - 1 into a folder; those that are there already stay.

    Window i depends on the assets, the seed and i only, whatever the number of processes.

    Args:
        paths: What scenes are made of.
        folder: Created if missing.
        count: Windows in the end.
        seed: Any number.
        style: One of `posecli.training.synthetic.window.STYLES`.
        num_workers: Processes.
        report: Called with (done, all) windows after every file.

    Raises:
        ConfigError: The folder holds windows of other assets or another seed.
        FormatError: An input cannot be read.
        OutputError: The folder cannot be written.
    """
    open_assets(paths)  # mistakes are told here, not by a worker
    style_facts = {} if style == "usual" else {style: True}
    _claim(folder, {"version": RENDERER_VERSION, "seed": seed, **describe(paths), **style_facts})
    jobs = [
        _Job(number, number * WINDOWS_PER_SHARD, min(WINDOWS_PER_SHARD, count - number * WINDOWS_PER_SHARD))
        for number in range(-(-count // WINDOWS_PER_SHARD))
    ]
    missing = [job for job in jobs if count_windows(folder / shard_name(job.number)) < job.count]
    done = count - sum(job.count for job in missing)
    if report is not None:
        report(done, count)
    for finished in _run(_Worker(paths, folder, seed, STYLES[style]), missing, num_workers):
        done += finished
        if report is not None:
            report(done, count)


def _run(worker: _Worker, jobs: list[_Job], num_workers: int) -> Iterator[int]:
    if num_workers == 1 or len(jobs) < 2:
        yield from map(worker, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(min(num_workers, len(jobs))) as pool:
        yield from pool.imap_unordered(worker, jobs)


class _Worker:
    """Renders a shard; the assets are opened in the process that does it."""

    def __init__(self, paths: AssetPaths, folder: Path, seed: int, style: WindowStyle) -> None:
        self._paths, self._folder, self._seed, self._style = paths, folder, seed, style

    def __call__(self, job: _Job) -> int:
        cv2.setNumThreads(1)
        assets = _assets_of_this_process(self._paths)
        indices = range(job.first, job.first + job.count)
        windows = [render_window(assets, seed=self._seed, index=index, style=self._style) for index in indices]
        write_shard(windows, self._folder / shard_name(job.number))
        return job.count


_OPENED: dict[AssetPaths, Assets] = {}


def _assets_of_this_process(paths: AssetPaths) -> Assets:
    if paths not in _OPENED:
        _OPENED[paths] = open_assets(paths)
    return _OPENED[paths]


def _claim(folder: Path, record: dict[str, object]) -> None:
    """Write down how the windows of a folder are made, or check that these are made in the same way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from error
    path = folder / _RECORD
    if not path.exists():
        write_atomic(path, orjson.dumps(record, option=orjson.OPT_INDENT_2), overwrite=False)
        return
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise FormatError(f"{path}: not JSON: {error}") from error
    if found != record:
        different = sorted(key for key in {*found, *record} if found.get(key) != record.get(key))
        raise ConfigError(
            f"{folder}: holds windows of another kind: {', '.join(different)} differ", hint="render into another folder"
        )
