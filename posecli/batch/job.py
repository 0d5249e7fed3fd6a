"""One video of a batch, and the files made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from posecli.batch.outcome import Failure
from posecli.formats.run import run_report_path
from posecli.pipeline.stretches import Stretch


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """Where the results of a video go; ``None`` is not written."""

    poses: Path
    overlay: Path | None = None
    sheet: Path | None = None

    def paths(self) -> list[Path]:
        """All of them with the run report, the poses last: when they are there, everything is."""
        return [path for path in (self.overlay, self.sheet) if path is not None] + [
            run_report_path(self.poses),
            self.poses,
        ]


@dataclass(frozen=True, slots=True)
class Part:
    """What there is to do about a long video: one of its stretches, or, when all are done (``position`` is ``None``), to join them."""

    stretches: tuple[Stretch, ...]
    position: int | None

    @property
    def share(self) -> float:
        """Of the video's length."""
        return 0.0 if self.position is None else 1.0 / len(self.stretches)

    def __str__(self) -> str:
        return "joining" if self.position is None else f"{self.position + 1}/{len(self.stretches)}"


@dataclass(frozen=True, slots=True)
class Job:
    """One video to annotate.

    Attributes:
        video: File, or folder of images, as it was found.
        name: Its poses file relative to the output folder, with slashes: what the manifest calls it.
        files: What to write.
        problem: Why it cannot be annotated, known beforehand.
        part: Of a long video; ``None``: all of it.
    """

    video: Path
    name: str
    files: OutputFiles
    problem: Failure | None = None
    part: Part | None = None


def printable(path: Path | str) -> str:
    """A path as text for people, logs and JSON: what is no text, or would break a line, is escaped."""
    text = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


__all__ = ["Job", "OutputFiles", "Part", "printable"]
