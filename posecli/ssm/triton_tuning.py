"""Finds the fastest plan for a scan on this device: measured once, kept in memory and in posecli's cache folder.

Nothing is measured at import, without a CUDA device (Triton's interpreter), or while a CUDA graph is recorded; then the plan is a
guess. A plan whose kernels spill registers is never chosen over one whose kernels do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor

from posecli.atomic import write_atomic
from posecli.errors import OutputError
from posecli.ssm.triton_launch import Arguments, run_backward, run_forward
from posecli.ssm.triton_plan import Plan, Sizes, backward_candidates, forward_candidates, guess_plan
from posecli.weights import cache_folder

_KERNEL_VERSION = 1  # raise it when kernels change so much that what was measured means nothing
_NUM_RUNS = 3

_chosen: dict[tuple[str, str], Plan] = {}


def choose_forward(scan: Arguments, groups: tuple[int, ...], sizes: Sizes) -> Plan:
    """The plan for a forward pass of this size."""
    return _choose(
        "forward",
        (_like(sizes), groups),
        scan.x,
        guess_plan(sizes),
        lambda: forward_candidates(sizes),
        lambda plan, compiled: run_forward(scan, groups, sizes, plan, compiled=compiled),
    )


def choose_backward(
    scan: Arguments, groups: tuple[int, ...], states: Tensor, dy: Tensor, sizes: Sizes, forward: Plan
) -> Plan:
    """The plan for the backward pass of a forward pass that used ``forward``."""
    return _choose(
        "backward",
        (_like(sizes), groups, forward.chunk),
        scan.x,
        forward,
        lambda: backward_candidates(sizes, forward),
        lambda plan, compiled: run_backward(scan, groups, states, dy, sizes, plan, compiled=compiled),
    )


def _like(sizes: Sizes) -> Sizes:
    """Sizes that share a plan: the last batch of a video is smaller than the others, and needs no measuring of its own."""
    return sizes._replace(batch=1 << (sizes.batch - 1).bit_length())


def tuning_file(device: torch.device) -> Path:
    """Where the plans of a device are kept."""
    name = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower()).strip("-")
    return cache_folder() / "triton" / f"scan-{name}-triton-{triton.__version__}-{_KERNEL_VERSION}.json"


def _choose(
    direction: str,
    key: object,
    x: Tensor,
    guess: Plan,
    candidates: Callable[[], list[Plan]],
    run: Callable[[Plan, list[Any]], object],
) -> Plan:
    if not x.is_cuda or torch.cuda.is_current_stream_capturing():
        return guess
    name = f"{direction} {key}"
    known = _chosen.get((str(x.device), name))
    if known is None:
        file = tuning_file(x.device)
        kept = _read(file)
        if name in kept:
            known = Plan(**kept[name])
        else:
            known = _fastest(candidates(), run)
            _write(file, {**_read(file), name: asdict(known)})
        _chosen[str(x.device), name] = known
    return known


def _fastest(candidates: list[Plan], run: Callable[[Plan, list[Any]], object]) -> Plan:
    """The candidate with the shortest time, of those that do not spill if there is one."""
    ranked: list[tuple[bool, float, int, Plan]] = []
    for plan in candidates:
        compiled: list[Any] = []
        run(plan, compiled)
        spills = any(kernel.n_spills for kernel in compiled)
        ranked.append((spills, _milliseconds(partial(run, plan, [])), len(ranked), plan))
    return min(ranked)[-1]


def _milliseconds(work: Callable[[], object]) -> float:
    """Best of several runs, by the device's own clock."""
    times = []
    for _ in range(_NUM_RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return min(times)


def _read(file: Path) -> dict[str, Any]:
    """What is kept; nothing if the file is absent or damaged, for it can be measured again."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, content: dict[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, (json.dumps(content, indent=1) + "\n").encode(), overwrite=True)
    except (OSError, OutputError):
        return  # a cache that cannot be written costs the measuring next time, nothing else
