"""The books of a batch: every event goes to the manifest, the log and whoever watches, and is added up for the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

from posecli import __version__
from posecli.batch.decide import Decision
from posecli.batch.identity import glance_json
from posecli.batch.job import Job, printable
from posecli.batch.log import BatchLog, Level
from posecli.batch.manifest import Manifest, Record
from posecli.batch.outcome import Failure, Outcome
from posecli.batch.request import BatchRequest

Watcher = Callable[[Record], None]
"""Gets every record of a video as it is noted."""


@dataclass
class Tally:
    """What has been counted so far: records by end, frames and warnings of this batch."""

    done: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    skipped: list[Record] = field(default_factory=list)
    warned: list[Record] = field(default_factory=list)
    frames: int = 0
    retries: int = 0


class Ledger:
    """Notes what happens; used by one process, whoever does the work.

    Args:
        request: What the batch is about.
        manifest: Open.
        log: Gets a line for every record.
        watch: Called with every record of a video.
    """

    def __init__(self, request: BatchRequest, manifest: Manifest, log: BatchLog, watch: Watcher) -> None:
        self.tally = Tally()
        self._request, self._manifest, self._log, self._watch = request, manifest, log, watch
        self._started_s: dict[str, float] = {}

    def begin(self, num_videos: int) -> None:
        """The batch begins."""
        self._note(
            {
                "event": "begin",
                "posecli": __version__,
                "command": list(self._request.command),
                "settings_hash": self._request.settings_hash,
                "settings": self._request.settings.to_json(),
                "overwrite": self._request.overwrite,
                "shard": [self._request.shard.index, self._request.shard.count],
                "videos": num_videos,
            }
        )

    def end(self, *, is_interrupted: bool) -> None:
        """The batch ends."""
        tally = self.tally
        counts = {"done": len(tally.done), "failed": len(tally.failed), "skipped": len(tally.skipped)}
        self._note({"event": "interrupted" if is_interrupted else "end", **counts})

    def skip(self, jobs: list[tuple[Job, Decision]]) -> None:
        """These are there already."""
        records = [{**_head("skipped", job), "reason": decision.reason, **decision.facts} for job, decision in jobs]
        self.tally.skipped += records
        self._manifest.append(records)
        for record in records:
            self._tell(record)

    def adopt(self, job: Job, decision: Decision) -> None:
        """An earlier batch has finished it, but could not note it any more."""
        record = {
            **_head("done", job),
            "settings_hash": self._request.settings_hash,
            "reason": decision.reason,
            **decision.facts,
        }
        self._note(record)
        self.tally.skipped.append(record)
        self._tell(record)

    def start(self, job: Job, *, worker: int, attempt: int, decision: Decision) -> None:
        """A worker gets the video."""
        self._started_s.setdefault(job.name, perf_counter())
        record = {**_head("started", job), **_part(job), "worker": worker, "reason": decision.reason}
        if attempt == 1 and job.part is None:
            before = glance_json(job.files.poses)
            self._note(
                {
                    **record,
                    "settings_hash": self._request.settings_hash,
                    "input": glance_json(job.video),
                    "before": before,
                    "is_own": before is not None and decision.verdict != "foreign",
                }
            )
        self._tell({**record, "attempt": attempt})

    def retry(self, job: Job, failure: Failure) -> None:
        """It goes to another worker."""
        self.tally.retries += 1
        record = {**_head("retry", job), **_part(job), "message": failure.message}
        self._note(record)
        self._tell(record)

    def done(self, job: Job, outcome: Outcome, *, worker: int) -> None:
        """Its poses are there."""
        facts = dict(outcome.facts)
        for name in {"warnings", "notes"} & facts.keys():  # these name files as they are
            facts[name] = [printable(line) for line in facts[name]]
        record = {
            **_head("done", job),
            "worker": worker,
            "settings_hash": self._request.settings_hash,
            "seconds": round(self._seconds(job, outcome.seconds), 3),
            "outputs": [printable(path.relative_to(self._request.out_dir).as_posix()) for path in job.files.paths()],
            **facts,
        }
        self._note(record)
        self.tally.done.append(record)
        self.tally.frames += facts.get("frames", 0) - (facts.get("resumed_at_frame") or 0)
        if record.get("warnings"):
            self.tally.warned.append(record)
        self._tell(record)

    def fail(self, job: Job, failure: Failure, *, seconds: float = 0.0) -> None:
        """It has no poses."""
        record = {
            **_head("failed", job),
            **{name: value for name, value in asdict(failure).items() if value is not None},
            "seconds": round(self._seconds(job, seconds), 3),
            "after": glance_json(job.files.poses),
        }
        self._note(record)
        self.tally.failed.append(record)
        self._tell(record)

    def stage(self, job: Job, stage: str, *, frame: int, seconds: float, worker: int) -> None:
        """A stage of a video is over; for the log only."""
        self._log.write(
            "info",
            "stage",
            video=printable(job.video),
            stage=stage,
            frame=frame,
            duration_s=seconds,
            worker=worker,
            **_part(job),
        )

    def remark(self, message: str, **facts: Any) -> None:
        """Something about the batch itself; for the log, and for whoever watches."""
        record = {"event": "remark", "message": message, **facts}
        self._log.write("warning", "remark", message=message, **facts)
        self._watch(record)

    def _seconds(self, job: Job, seconds: float) -> float:
        """All attempts count."""
        start = self._started_s.pop(job.name, None)
        return seconds if start is None else perf_counter() - start

    def _note(self, record: Mapping[str, Any]) -> None:
        self._manifest.append([_clean(record)])
        if "video" not in record:
            self._log.write("info", str(record["event"]), **{k: v for k, v in record.items() if k not in _HEAVY})

    def _tell(self, record: Record) -> None:
        level: Level = "error" if record["event"] == "failed" else "warning" if record["event"] == "retry" else "info"
        fields = {name: value for name, value in record.items() if name not in {"event", "settings_hash", "before"}}
        fields["duration_s"] = fields.pop("seconds", None)
        fields["frame"] = fields.pop("frames", None)
        fields["stage"] = "video"
        self._log.write(level, str(record["event"]), **fields)
        self._watch(record)


_HEAVY = frozenset({"event", "settings"})


def refused(job: Job, decision: Decision) -> Failure:
    """Why a poses file that is there is left alone."""
    what = f"{printable(job.files.poses)}: exists already, and {_WHY[decision.verdict]}"
    return Failure.of("output", what, "--overwrite replaces it; or move it away", exit_code=7)


_WHY = {"foreign": "this batch has not made it", "other settings": "was made with other settings or weights"}


def _head(event: str, job: Job) -> dict[str, Any]:
    return {"event": event, "video": printable(job.video), "output": printable(job.name)}


def _part(job: Job) -> dict[str, str]:
    return {} if job.part is None else {"part": str(job.part)}


def _clean(record: Mapping[str, Any]) -> dict[str, Any]:
    """Tracebacks belong into the log."""
    return {name: value for name, value in record.items() if name != "detail"}


__all__ = ["Ledger", "Tally", "Watcher", "refused"]
