"""What the user wants of a batch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from posecli.download import file_sha256
from posecli.errors import ConfigError
from posecli.pipeline.settings import AnnotateSettings
from posecli.pipeline.stretches import SplitConfig
from posecli.weights import WEIGHTS, resolve_weights

_MAX_DEFAULT_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``index`` (from 1) of ``count`` parts of all videos, for several machines at one folder."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/4``.

        Raises:
            ConfigError: It is something else, or there is no such part.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(
                f"shard {text!r} is not a part of a whole", hint="for example 2/4: the second of four parts"
            )
        return cls(int(found[1]), int(found[2]))

    def holds(self, name: str) -> bool:
        """Whether a video belongs to this part; depends on nothing but its name."""
        digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index - 1

    def suffix(self) -> str:
        """For the names of files of this part: empty where there is only one."""
        return "" if self.count == 1 else f"-{self.index}-of-{self.count}"


@dataclass(frozen=True)
class BatchRequest:
    """One call of ``posecli batch``.

    Attributes:
        inputs: Folders, videos, patterns, and text files with one path a line.
        out_dir: Gets the poses, in the same tree as the videos.
        settings: What decides the poses; without ``boxes``, which belong to one video.
        overlay: Whether to draw overlay videos too.
        sheet: Whether to make contact sheets too.
        overlay_style: See `posecli.video.overlay`.
        overwrite: Whether existing outputs are made anew.
        is_recursive: Whether folders are searched with their subfolders.
        limit: At most so many videos.
        shard: Which part of the videos.
        workers: Processes; ``None``: as suits the machine.
        threads: CPU threads of each; ``None``: the cores, shared out.
        timeout_s: Longest time for one video.
        command: For the run reports.
        split: Which videos are so long that several workers share one; ``None``: none.
    """

    inputs: tuple[str, ...]
    out_dir: Path
    settings: AnnotateSettings
    overlay: bool = False
    sheet: bool = False
    overlay_style: str = "default"
    overwrite: bool = False
    is_recursive: bool = True
    limit: int | None = None
    shard: Shard = Shard()
    workers: int | None = None
    threads: int | None = None
    timeout_s: float | None = None
    command: tuple[str, ...] = ()
    split: SplitConfig | None = None

    def __post_init__(self) -> None:
        if self.settings.boxes is not None or self.settings.detector == "boxes":
            raise ConfigError("boxes from a file belong to one video", hint="use posecli annotate, one video at a time")
        for name, value in (("limit", self.limit), ("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, it must be at least 1")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ConfigError(f"timeout is {self.timeout_s} s, it must be longer than nothing")

    @cached_property
    def settings_hash(self) -> str:
        """Equal for requests that give the same poses: settings, and the content of all weights.

        Raises:
            WeightsError: Weights are unknown or missing.
        """
        content: dict[str, Any] = {"settings": self.settings.to_json(), "weights": self._weights_digests()}
        if self.overlay:
            content["overlay_style"] = self.overlay_style
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def max_workers(self) -> int:
        """Processes at most: by default one for every two cores, one on a GPU."""
        default = 1 if self.settings.device != "cpu" else min(_MAX_DEFAULT_WORKERS, max(1, num_cores() // 2))
        return self.workers or default

    def num_workers(self, num_videos: int) -> int:
        """Processes to start: never more than videos (or parts of long ones)."""
        return max(1, min(self.max_workers, num_videos))

    def num_threads(self, num_workers: int) -> int:
        """CPU threads of each process."""
        return self.threads or max(1, _threads_in_all() // num_workers)

    def _weights_digests(self) -> list[str]:
        settings = self.settings
        digests = [_digest(settings.weights)]
        if settings.head_weights is not None:
            digests.append(_digest(settings.head_weights))
        kind, _, file = settings.detector.partition(":")
        if kind == "embedded" and settings.detector_weights is None:
            digests += [_digest(e.name) for e in WEIGHTS.values() if e.is_embedded and e.kind == "detector"]
        elif kind == "embedded" and settings.detector_weights is not None:
            digests.append(_digest(settings.detector_weights))
        elif kind == "yolo":
            path = Path(file or settings.detector_weights or "")
            digests.append(file_sha256(path) if path.is_file() else str(path))
        if settings.lift is not None:
            digests.append(_digest(settings.lift))
        return digests


def num_cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads_in_all() -> int:
    """As torch counts: the user's ``OMP_NUM_THREADS``, else all cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) > 0 else num_cores()


def _digest(weights: str) -> str:
    entry = WEIGHTS.get(weights)
    known = None if entry is None else entry.sha256
    return known or file_sha256(resolve_weights(weights))


__all__ = ["BatchRequest", "Shard", "num_cores"]
