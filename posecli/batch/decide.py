"""Whether a video still has to be annotated: judged by what lies in the output folder and what the manifest says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from posecli.batch.identity import Glance, content_sha256, glance_json
from posecli.batch.job import Job, printable
from posecli.batch.manifest import History, Record
from posecli.download import file_sha256
from posecli.formats.run import run_report_path
from posecli.pipeline.journal import journal_path

_TURNING_POINTS = ("started", "done", "failed", "skipped")

Verdict = Literal["run", "skip", "adopt", "foreign", "other settings"]


@dataclass(frozen=True)
class Decision:
    """What to do with a video.

    Attributes:
        verdict: ``run``; ``skip``: everything is there; ``adopt``: everything is there, only the manifest does not know yet;
            ``foreign``: the poses file is not this manifest's; ``other settings``: it is, but made otherwise.
        reason: Why, for the manifest.
        facts: To be noted with it.
    """

    verdict: Verdict
    reason: str
    facts: Mapping[str, Any]


def decide(job: Job, history: History, settings_hash: str) -> Decision:
    """Judge one video.

    Poses files are told apart by size, time and, where these differ, content; so a file that was replaced by somebody else is
    noticed, and a folder that was copied is not redone. Videos likewise.

    Raises:
        OSError: A file cannot be read.
    """
    if not job.files.poses.exists():
        return Decision("run", "not done yet", {})
    records = history.of(printable(job.name))
    made = next((record for record in reversed(records) if _made(record, job.files.poses)), None)
    if made is None:
        return _decide_unknown(job, records, settings_hash)
    if made.get("settings_hash") != settings_hash:
        return Decision("other settings", "made with other settings or weights", {})
    glance = Glance.at(job.video)
    if not _is_same_video(job.video, glance, made, records):
        return Decision("run", "the video has changed", {})
    missing = [path for path in job.files.paths() if not path.exists()]
    if missing:
        return Decision("run", f"{printable(missing[0].name)} is missing", {})
    kept = {name: made[name] for name in ("frames", "people", "poses", "sha256", "settings_hash") if name in made}
    return Decision("skip", "done before", {**kept, "input": glance.to_json()})


def stamp(poses: Path) -> dict[str, Any]:
    """What tells a poses file from another one."""
    return {**Glance.at(poses).to_json(), "sha256": file_sha256(poses)}


def _decide_unknown(job: Job, records: list[Record], settings_hash: str) -> Decision:
    """A poses file without a ``done``: written by a batch that was killed the moment after, or by somebody else."""
    last = next((record for record in reversed(records) if record.get("event") in _TURNING_POINTS), {})
    now = Glance.at(job.files.poses).to_json()
    is_new = last.get("event") == "started" and last.get("before") != now
    is_ours = is_new or last.get("is_own") is True or (last.get("event") == "failed" and last.get("after") == now)
    if not is_ours:
        return Decision("foreign", "the poses file is there, but not in the manifest", {})
    is_whole = all(path.exists() for path in job.files.paths()) and not journal_path(job.files.poses).exists()
    is_same = last.get("settings_hash") == settings_hash and last.get("input") == glance_json(job.video)
    if not (is_new and is_whole and is_same):
        return Decision("run", "not finished", {})
    counts = _counts(run_report_path(job.files.poses))
    facts = {**counts, "input": last["input"], "sha256": content_sha256(job.video), "stamp": stamp(job.files.poses)}
    return Decision("adopt", "was finished, but not noted, when an earlier batch ended", facts)


def _made(record: Record, poses: Path) -> bool:
    """Whether a record tells of the making of this very file."""
    noted = record.get("stamp")
    if record.get("event") != "done" or not isinstance(noted, Mapping):
        return False
    glance = Glance.at(poses)
    if Glance.from_json(noted) == glance:
        return True
    return noted.get("num_bytes") == glance.num_bytes and noted.get("sha256") == file_sha256(poses)


def _is_same_video(video: Path, glance: Glance, made: Record, records: list[Record]) -> bool:
    known = [record.get("input") for record in records if record.get("sha256") == made.get("sha256")]
    if glance.to_json() in known:
        return True
    sizes = {noted.num_bytes for noted in map(Glance.from_json, known) if noted is not None}
    return glance.num_bytes in sizes and content_sha256(video) == made.get("sha256")


def _counts(report: Path) -> dict[str, int]:
    counts = orjson.loads(report.read_bytes()).get("counts", {})
    return {"frames": counts.get("frames", 0), "people": counts.get("tracks", 0), "poses": counts.get("poses", 0)}


__all__ = ["Decision", "Verdict", "decide", "stamp"]
