"""How a batch gets on, for whoever watches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker: ``video`` is ``None`` while it loads or waits; ``stage`` says which."""

    number: int
    process_id: int | None
    stage: str
    video: str | None
    done: int
    total: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """All of it, now. ``frames_per_s`` counts from when the first worker was ready; ``eta_s`` is a guess."""

    total: int
    done: int
    failed: int
    skipped: int
    left: int
    frames: int
    frames_per_s: float | None
    eta_s: float | None
    elapsed_s: float
    workers: tuple[WorkerStatus, ...]


__all__ = ["Status", "WorkerStatus"]
