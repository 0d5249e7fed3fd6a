"""What there is to do: every video of a request, judged, without touching anything."""

from __future__ import annotations

from dataclasses import dataclass, field

from posecli.batch.decide import Decision, decide
from posecli.batch.job import Job, printable
from posecli.batch.ledger import refused
from posecli.batch.manifest import History, manifest_path
from posecli.batch.outcome import Failure, failure_of
from posecli.batch.plan import plan_jobs
from posecli.batch.request import BatchRequest
from posecli.errors import OutputError, VideoError


@dataclass
class Survey:
    """All videos of a request.

    Attributes:
        todo: To be annotated, in the order of their names.
        skipped: Done before.
        adopted: Done before, but not noted.
        refused: Not possible, and why.
        beyond_limit: Left for another time.
        history: What the manifests say.
    """

    history: History
    todo: list[tuple[Job, Decision]] = field(default_factory=list)
    skipped: list[tuple[Job, Decision]] = field(default_factory=list)
    adopted: list[tuple[Job, Decision]] = field(default_factory=list)
    refused: list[tuple[Job, Failure]] = field(default_factory=list)
    beyond_limit: list[tuple[Job, Decision]] = field(default_factory=list)

    @property
    def num_videos(self) -> int:
        """All of them."""
        known = (*self.todo, *self.skipped, *self.adopted, *self.beyond_limit)
        return len(known) + len(self.refused)


def survey(request: BatchRequest) -> Survey:
    """Find the videos of a request and judge each.

    Raises:
        VideoError: See `posecli.batch.plan.plan_jobs`; or there is nothing in this shard.
        OutputError: There are poses made with other settings, and they may not be overwritten.
        WeightsError: Weights are unknown or missing.
    """
    jobs = plan_jobs(request)
    if not jobs and request.shard.count == 1:
        raise VideoError("no videos: all that was found lies in the output folder")
    history = History.of_folder(request.out_dir)
    result = Survey(history)
    if request.overwrite:
        own = History.read(manifest_path(request.out_dir, request.shard))
        history = own.since_unfinished_overwrite(request.settings_hash)
    others = [job for job in jobs if _judge(job, history, request, result) == "other settings"]
    if others:
        what = f"{len(others)} of {len(jobs)} poses files" if len(others) > 1 else "a poses file"
        raise OutputError(
            f"{printable(request.out_dir)}: {what} made with other settings or weights"
            f" ({printable(others[0].name)}{', ...' if len(others) > 1 else ''})",
            hint="--overwrite makes them anew; or give the settings of the time, or another --out-dir",
        )
    if request.limit is not None:
        result.todo, result.beyond_limit = result.todo[: request.limit], result.todo[request.limit :]
    return result


def _judge(job: Job, history: History, request: BatchRequest, result: Survey) -> str:
    if job.problem is not None:
        result.refused.append((job, job.problem))
        return "refused"
    try:
        decision = decide(job, history, request.settings_hash)
    except OSError as error:
        result.refused.append((job, failure_of(error)))
        return "refused"
    if decision.verdict == "run" or (request.overwrite and decision.verdict in ("foreign", "other settings")):
        result.todo.append((job, decision))
    elif decision.verdict == "skip":
        result.skipped.append((job, decision))
    elif decision.verdict == "adopt":
        result.adopted.append((job, decision))
    elif decision.verdict == "foreign":
        result.refused.append((job, refused(job, decision)))
    return decision.verdict if not request.overwrite else "judged"


__all__ = ["Survey", "survey"]
