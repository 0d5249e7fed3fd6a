"""Runs the Triton scan in Triton's interpreter and prints, as JSON, how far every case is from the oracle in float64.

Started by ``test_triton_scan.py`` with TRITON_INTERPRET=1, which must be set before the kernels are imported.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from posecli import ssm
from posecli.ssm import (
    available_backends,
    global_orders,
    reference,
    triton_check,
    triton_launch,
    triton_scan,
    window_orders,
)
from posecli.ssm.triton_plan import Plan

multi_scan: Any = ssm.multi_scan  # mypy does not count what a star unpacks in front of other arguments
scan_reference: Any = reference.scan_reference
scan_triton: Any = triton_scan.scan_triton

NAMES = ("y", "x", "proj", "dt_weight", "dt_bias", "A_log", "D")


def arguments(
    length: int, *, batch: int = 1, width: int = 16, directions: int = 2, states: int = 4, rank: int = 4
) -> Any:
    """As a fresh network would have them: steps from 0.001 to 0.1, A = -1..-N."""
    generator = torch.Generator().manual_seed(length + 100 * states)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    step = torch.exp(torch.rand(directions, width, generator=generator) * math.log(100) + math.log(1e-3))
    return [
        normal(batch, length, width),
        normal(batch, length, directions, rank + 2 * states),
        normal(directions, rank, width) / rank**0.5,
        step + torch.log(-torch.expm1(-step)),
        torch.arange(1.0, states + 1).log().view(1, states, 1) + 0.1 * normal(directions, states, width),
        normal(directions, width),
    ]


def results(
    inputs: Any, order: Tensor, groups: tuple[int, ...], seg_len: int, scan: Callable[..., Tensor]
) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    y = scan(*leaves, order, groups, seg_len)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


def compare(
    inputs: Any, order: Any, plan: Plan | None, *, groups: tuple[int, ...] = (0, 0), seg_len: int = 0
) -> dict[str, float]:
    """Error of each tensor relative to the largest value of the oracle's."""
    rows = torch.from_numpy(order.copy())
    segment = seg_len or rows.shape[1]
    expected = results([t.double() for t in inputs], rows, groups, segment, scan_reference)
    computed = results(inputs, rows, groups, segment, lambda *a: scan_triton(*a, plan=plan))
    errors = {}
    for name, true, found in zip(NAMES, expected, computed, strict=True):
        if not bool(found.isfinite().all()):
            errors[name] = 1e9
            continue
        errors[name] = float((found.double() - true).abs().max() / true.abs().max().clamp_min(1e-30))
    return errors


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "chunk": 8,
        "block": 16,
        "unroll": 2,
        "keeps_deltas": True,
        "tile": 4,
        "group": 1,
        "back_block": 16,
    }
    return Plan(**(values | changes))


def four_directions() -> dict[str, float]:
    order = global_orders(1, 3, 4, types=("spatial", "temporal"))
    return compare(arguments(12, directions=4), order, plan(unroll=4, tile=8, group=4), groups=(0, 0, 1, 0))


def two(*size: int, reading: Any = "R") -> Any:
    return global_orders(*size, types=("unified",), reading=reading)


def windows(*, is_reset: bool, chunk: int) -> dict[str, float]:
    order, seg_len = window_orders(2, 4, 6, (2, 3))
    return compare(arguments(48), order, plan(chunk=chunk, keeps_deltas=chunk == 8), seg_len=seg_len if is_reset else 0)


def extreme(position: int, value: float) -> dict[str, float]:
    inputs = arguments(16)
    inputs[position] = torch.full_like(inputs[position], value)
    inputs[5] = torch.zeros_like(inputs[5])  # the skip would hide a tiny output
    found = compare(inputs, two(1, 4, 4), plan())
    return {name: found[name] for name in NAMES[:-1]}


def half(dtype: torch.dtype, rank: int) -> dict[str, float]:
    inputs = arguments(16, rank=rank)
    inputs[0], inputs[1] = inputs[0].to(dtype), inputs[1].to(dtype)
    return compare(inputs, two(1, 4, 4), plan())


def batch_in_parts() -> dict[str, float]:
    kept, triton_launch._BACKWARD_BYTES = triton_launch._BACKWARD_BYTES, 1
    try:
        return compare(arguments(16, batch=2), two(1, 4, 4), plan(chunk=16))
    finally:
        triton_launch._BACKWARD_BYTES = kept


def nans_and_bits() -> dict[str, float]:
    """1 where a NaN does not go where the oracle sends it, or where two runs differ."""
    inputs, order = arguments(16), torch.from_numpy(two(1, 4, 4).copy())
    first = results(inputs, order, (0, 0), 16, lambda *a: scan_triton(*a, plan=plan()))
    second = results(inputs, order, (0, 0), 16, lambda *a: scan_triton(*a, plan=plan()))
    found = {"bits": float(not all(map(torch.equal, first, second)))}
    for position in (0, 1, 3, 4):
        broken = [tensor.clone() for tensor in inputs]
        broken[position].view(-1)[broken[position].numel() // 2] = math.nan
        true = scan_reference(*(t.double() for t in broken), order, (0, 1), 16).isnan()
        there = scan_triton(*broken, order, (0, 1), 16, plan=plan()).isnan()
        found[f"nan {position}"] = float(not torch.equal(true, there) or not true.any() or bool(true.all()))
    return found


def device_check() -> float:
    """What is run on a GPU before its first use, also where the first use is inside inference."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return triton_check.triton_error(torch.device("cpu"))


def entry() -> dict[str, float]:
    """Through the public entry, with a guessed plan; strided inputs, bfloat16 under autocast."""
    inputs, order = arguments(16), two(1, 4, 4)
    inputs[0], inputs[1] = inputs[0].bfloat16(), inputs[1].bfloat16()
    strided = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in inputs]
    true = multi_scan(*(t.double() for t in inputs), order)
    with torch.autocast("cpu", torch.bfloat16):
        y = multi_scan(*strided, order, backend="triton")
    error = float((y.double() - true).abs().max() / true.abs().max())
    return {
        "y": error,
        "type": float(y.dtype != torch.float32),
        "device check": device_check(),
        "probe": float(available_backends()["triton"] != "ok"),
    }


CASES: dict[str, Callable[[], dict[str, float]]] = {
    "one state, odd rank": lambda: compare(arguments(24, states=1, rank=3), two(2, 3, 4), plan(tile=2)),
    "four directions, two outputs": four_directions,
    "eight states, two blocks": lambda: compare(
        arguments(16, states=8, width=32), two(1, 4, 4), plan(tile=8, group=2, keeps_deltas=False)
    ),
    "sixteen states, reading V": lambda: compare(
        arguments(24, states=16, rank=8), two(2, 3, 4, reading="V"), plan(group=4, back_block=8), groups=(1, 0)
    ),
    "odd width and length": lambda: compare(
        arguments(21, width=24), two(1, 3, 7), plan(chunk=16, block=8, back_block=8)
    ),
    "windows reset, uneven chunks": lambda: windows(is_reset=True, chunk=8),
    "windows reset, one chunk": lambda: windows(is_reset=True, chunk=16),
    "windows carried on": lambda: windows(is_reset=False, chunk=24),
    "dt raw +1000": lambda: extreme(3, 1000.0),
    "dt raw -30": lambda: extreme(3, -30.0),
    "A = 0": lambda: extreme(4, -math.inf),
    "A = -1e6": lambda: extreme(4, math.log(1e6)),
    "bfloat16 in words": lambda: half(torch.bfloat16, 4),
    "bfloat16, odd rank": lambda: half(torch.bfloat16, 3),
    "float16": lambda: half(torch.float16, 4),
    "batch in parts": batch_in_parts,
    "NaN and bits": nans_and_bits,
    "entry": entry,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump({name: case() for name, case in CASES.items()}, sys.stdout)
