"""The selective scan at the network's size, with every backend that this machine has."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from posecli.benchmark.clock import Clock, Effort
from posecli.errors import PoseCliError
from posecli.pose.blocks import SelectiveScan
from posecli.pose.estimator import PoseEstimator
from posecli.ssm import available_backends, multi_scan, resolve_backend

_MAX_QUICK_STEPS = 20_000  # tokens times directions that the step-by-step oracle may take in a quick run


@dataclass(frozen=True, slots=True)
class ScanRow:
    """A backend: ``ms`` for one window's scan in all directions, ``ratio`` to the backend in use; ``None`` where not measured."""

    backend: str
    ms: float | None
    ratio: float | None
    remark: str


@dataclass(frozen=True, slots=True)
class ScanReport:
    """The scan of the first block: its size, and one row a backend."""

    tokens: int
    width: int
    directions: int
    states: int
    rank: int
    rows: tuple[ScanRow, ...]


def time_scans(estimator: PoseEstimator, clock: Clock, effort: Effort, *, is_quick: bool) -> ScanReport | None:
    """Measure every backend on the device of the estimator; ``None`` for a network without a scan.

    Args:
        estimator: Whose first scan is measured, with its own weights.
        clock: For its device.
        effort: How often; the oracle runs once.
        is_quick: Whether the oracle is left out when it would take seconds.
    """
    scan = next((module for module in estimator.network.modules() if isinstance(module, SelectiveScan)), None)
    if scan is None:
        return None
    (directions, tokens), width = scan.order.shape, scan.D.shape[1]
    rank, states = scan.dt_weight.shape[1], scan.A_log.shape[1]
    times: dict[str, float | None] = {}
    remarks: dict[str, str] = {}
    for name, state in available_backends().items():
        if state == "ok" and is_quick and name == "reference" and directions * tokens > _MAX_QUICK_STEPS:
            state = "left out of a quick run"
        times[name], remarks[name] = _time_one(scan, name, state, estimator.device, clock, effort)
    used_ms = times.get(estimator.backend)
    rows = tuple(
        ScanRow(
            name,
            ms,
            ms / used_ms if ms and used_ms else None,
            "in use" if name == estimator.backend else remarks[name],
        )
        for name, ms in times.items()
    )
    return ScanReport(tokens, width, directions, states, rank, rows)


def _time_one(
    scan: SelectiveScan, name: str, state: str, device: torch.device, clock: Clock, effort: Effort
) -> tuple[float | None, str]:
    if state != "ok":
        return None, state
    try:
        resolve_backend(name, device)
    except PoseCliError as error:
        return None, error.message
    directions, tokens = scan.order.shape
    per_direction = scan.dt_weight.shape[1] + 2 * scan.A_log.shape[1]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, tokens, scan.D.shape[1], generator=generator).to(device)
    proj = torch.randn(1, tokens, directions, per_direction, generator=generator).to(device)

    def run() -> None:
        with torch.inference_mode():
            multi_scan(
                *(x, proj, scan.dt_weight, scan.dt_bias, scan.A_log, scan.D, scan.order),
                groups=scan.groups,
                seg_len=scan.seg_len,
                backend=name,
            )

    if name != "reference":
        return clock.least_ms(run, effort), ""
    start = clock.now_s()
    run()
    return 1e3 * (clock.now_s() - start), "once, the oracle"
