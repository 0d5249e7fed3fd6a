"""A batch from beginning to end: lock, survey, work, books, summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Protocol

from posecli.atomic import remove_partial_files
from posecli.batch.engine import LocalEngine
from posecli.batch.ledger import Ledger, Watcher
from posecli.batch.lock import folder_lock
from posecli.batch.log import BatchLog
from posecli.batch.manifest import Manifest, Record, manifest_path
from posecli.batch.request import BatchRequest
from posecli.batch.status import Status
from posecli.batch.summary import Summary, summary_path, write_summary
from posecli.batch.survey import Survey, survey
from posecli.errors import OutputError


class Engine(Protocol):
    """Does the videos of a survey, and tells a ledger."""

    @property
    def num_left(self) -> int:
        """Videos not reached."""
        ...

    def run(self) -> bool:
        """Work until nothing is left; whether it was interrupted."""
        ...


EngineMaker = Callable[[BatchRequest, Survey, Ledger, Callable[[Status], None], int], Engine]


def run_batch(
    request: BatchRequest,
    *,
    watch: Watcher = lambda record: None,
    show: Callable[[Status], None] = lambda status: None,
    log_file: Path | None = None,
    make_engine: EngineMaker = LocalEngine,
) -> Summary:
    """Annotate the videos of a request.

    The same request goes on where an earlier one stopped, however that ended.

    Args:
        request: What is wanted.
        watch: Gets every record of a video as it is noted.
        show: Told a few times a second how it gets on.
        log_file: Gets JSON lines.
        make_engine: Who does the work.

    Returns:
        What became of it; ``summary.json`` says the same.

    Raises:
        PoseCliError: Nothing could be done at all: inputs, output folder, weights or device are at fault.
    """
    start = perf_counter()
    _make_out_dir(request.out_dir)
    remarks: list[str] = []

    def listen(record: Record) -> None:
        if record["event"] == "remark":
            remarks.append(str(record["message"]))
        watch(record)

    with folder_lock(request.out_dir, request.shard) as lock_fd, BatchLog(log_file) as log:
        remove_partial_files(summary_path(request))
        found = survey(request)
        path = manifest_path(request.out_dir, request.shard)
        with Manifest(path) as manifest:
            ledger = Ledger(request, manifest, log, listen)
            ledger.begin(found.num_videos)
            if found.history.num_torn:
                ledger.remark(f"{found.history.num_torn} torn lines in the manifest were passed over")
            ledger.skip(found.skipped)
            for job, decision in found.adopted:
                ledger.adopt(job, decision)
            for job, failure in found.refused:
                ledger.fail(job, failure)
            engine = make_engine(request, found, ledger, show, lock_fd)
            is_interrupted = engine.run()
            ledger.end(is_interrupted=is_interrupted)
        num_left = engine.num_left + len(found.beyond_limit)
        seconds = perf_counter() - start
        summary = Summary(ledger.tally, num_left, seconds, is_interrupted, tuple(remarks), path)
        write_summary(summary, request)
    return summary


def _make_out_dir(out_dir: Path) -> None:
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f"{out_dir}: is a file, a folder is needed") from error
    except OSError as error:
        raise OutputError(f"{out_dir}: cannot be made: {error.strerror}") from error


__all__ = ["Engine", "EngineMaker", "run_batch"]
