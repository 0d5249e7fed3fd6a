"""What became of a video: the facts of a success, or what went wrong and what to do about it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any, Literal

from posecli.errors import ConfigError, DeviceError, FormatError, OutputError, PoseCliError, VideoError, WeightsError
from posecli.pipeline.stretches import Stretch
from posecli.pipeline.unchanged import ChangedVideoError

FailureKind = Literal[
    "input", "output", "weights", "device", "config", "memory", "timeout", "died", "bug", "other", "changed"
]
_KINDS: tuple[tuple[type[PoseCliError], FailureKind], ...] = (
    (ChangedVideoError, "changed"),
    (VideoError, "input"),
    (FormatError, "input"),
    (OutputError, "output"),
    (WeightsError, "weights"),
    (DeviceError, "device"),
    (ConfigError, "config"),
)
_HINTS: dict[FailureKind, str] = {
    "input": "the file is damaged or not a video: play it to see; copy or record it again, or take it out of the folder",
    "output": "look at the output folder: is there space, may you write there?",
    "weights": "run: posecli weights verify",
    "device": "close other programs, give fewer --workers, or another --device",
    "config": "look at the options of the command",
    "memory": "give fewer --workers, or annotate this video alone",
    "timeout": "give a larger --timeout; the next run goes on where this one stopped",
    "died": "give fewer --workers in case memory ran out; if it happens again, the video breaks its decoder: convert it first",
    "bug": "this is a bug in posecli: please report it, with the traceback from --log-file",
    "other": "give the same command again",
    "changed": "give the same command again when nobody writes to the video any more",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a video has no poses.

    Attributes:
        kind: What went wrong, for programs.
        message: What went wrong, one line.
        hint: What to do about it, one line.
        exit_code: That of `posecli annotate` in the same case.
        detail: A traceback, where it is a bug.
    """

    kind: FailureKind
    message: str
    hint: str
    exit_code: int = 1
    detail: str | None = None

    @classmethod
    def of(cls, kind: FailureKind, message: str, hint: str | None = None, *, exit_code: int = 1) -> Failure:
        """A failure with the usual hint of its kind, unless there is a better one."""
        return cls(kind, _one_line(message), _one_line(hint or _HINTS[kind]), exit_code)


def failure_of(error: BaseException) -> Failure:
    """What an exception means for whoever reads the summary."""
    if isinstance(error, PoseCliError):
        kind: FailureKind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "other")
        return Failure.of(kind, error.message, error.hint, exit_code=error.exit_code)
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"{error.filename}: "
        return Failure.of("output", f"{place}{error.strerror or error}", exit_code=OutputError.exit_code)
    what = f"{type(error).__name__}: {error}"
    detail = "".join(traceback.format_exception(error))
    return Failure("bug", _one_line(what), _HINTS["bug"], 1, detail)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt at a video, as a worker tells it.

    Attributes:
        seconds: How long it took.
        facts: JSON values, of a success: see `posecli.batch.task.annotate_job`.
        failure: ``None``: it succeeded.
        is_stopped: Whether it was asked to stop, and left its journal for the next time.
        stretches: The video is long, nothing was done yet: these first.
    """

    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    failure: Failure | None = None
    is_stopped: bool = False
    stretches: tuple[Stretch, ...] = ()


def _one_line(text: str) -> str:
    return " ".join(text.split())


__all__ = ["Failure", "FailureKind", "Outcome", "failure_of"]
