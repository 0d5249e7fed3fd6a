"""Speed of the CPU scan kernel against the obvious batched loop in torch, in the same run and on one thread.

    python tests/benchmarks/bench_scan.py [--json] [--small]

Times are CPU seconds of the thread, the best of several runs, so that other work on the machine disturbs little. Absolute times say
nothing about another machine; the ratio does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import softplus

from posecli.ssm import global_orders, multi_scan


@dataclass(frozen=True)
class Case:
    """A scan of ``grid`` = (frames, height, width) tokens in six directions."""

    batch: int
    grid: tuple[int, int, int]
    width: int
    states: int
    rank: int


PAPER = Case(batch=1, grid=(5, 64, 48), width=128, states=8, rank=4)
SMALL = Case(batch=1, grid=(5, 16, 12), width=64, states=4, rank=4)


def naive_scan(
    x: Tensor, proj: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor, order: Tensor
) -> Tensor:
    """All directions at once, one step after the other; x (B, L, D) -> (B, 1, L, D)."""
    (directions, rank, _), states = dt_weight.shape, A_log.shape[1]
    rows, every = order.long(), torch.arange(directions)[:, None]
    visited = proj[:, rows, every]  # (B, K, L, R + 2 N)
    values = x[:, rows]  # (B, K, L, D)
    delta = softplus(torch.einsum("bklr,krd->bkld", visited[..., :rank], dt_weight) + dt_bias[:, None])
    b, c = visited[..., rank:].split(states, dim=-1)
    A = -torch.exp(A_log)
    h = torch.zeros_like(A)
    outputs = []
    steps = zip(values.unbind(2), delta.unbind(2), b.unbind(2), c.unbind(2), strict=True)
    for x_t, delta_t, b_t, c_t in steps:
        h = torch.exp(delta_t[:, :, None] * A) * h + (delta_t * x_t)[:, :, None] * b_t[..., None]
        outputs.append((c_t[..., None] * h).sum(2))
    y = torch.stack(outputs, dim=2) + D[:, None] * values
    merged = torch.zeros_like(x)
    for k in range(directions):
        merged = merged.index_add(1, rows[k], y[:, k])
    return merged[:, None]


def arguments(case: Case) -> tuple[list[Tensor], Tensor]:
    """Random arguments of a case, and its orders."""
    generator = torch.Generator().manual_seed(0)
    order = torch.from_numpy(global_orders(*case.grid).copy())
    directions, length = order.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    decay = torch.arange(1.0, case.states + 1).log().view(1, -1, 1).repeat(directions, 1, case.width)
    values = [
        normal(case.batch, length, case.width),
        normal(case.batch, length, directions, case.rank + 2 * case.states),
        normal(directions, case.rank, case.width) * case.rank**-0.5,
        normal(directions, case.width) - 4,
        decay,
        torch.ones(directions, case.width),
    ]
    return values, order


def cpu_seconds(work: Callable[[], object], num_runs: int) -> float:
    """Best of several runs after one to warm up."""
    work()
    best = float("inf")
    for _ in range(num_runs):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return best


def measure(case: Case, *, num_kernel_runs: int = 10, num_naive_runs: int = 2) -> dict[str, dict[str, float]]:
    """Milliseconds of kernel and loop, and their ratio, for the forward and for forward and backward."""
    torch.set_num_threads(1)
    values, order = arguments(case)

    def forward(scan: Callable[..., Tensor]) -> None:
        with torch.no_grad():
            scan(*values, order)

    def both(scan: Callable[..., Tensor]) -> None:
        leaves = [value.clone().requires_grad_() for value in values]
        y = scan(*leaves, order)
        torch.autograd.grad(y, leaves, torch.ones_like(y))

    def kernel(*tensors: Tensor) -> Tensor:
        return multi_scan(*tensors, backend="cpu")

    results = {}
    for name, work in (("forward", forward), ("forward_backward", both)):
        fast = cpu_seconds(partial(work, kernel), num_kernel_runs)
        slow = cpu_seconds(partial(work, naive_scan), num_naive_runs)
        results[name] = {"kernel_ms": 1e3 * fast, "loop_ms": 1e3 * slow, "ratio": slow / fast}
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--small", action="store_true", help="a small case instead of the paper's size")
    options = parser.parse_args()
    results = measure(SMALL if options.small else PAPER)
    if options.json:
        sys.stdout.write(json.dumps(results) + "\n")
    else:
        for name, row in results.items():
            line = f"{name:17s} kernel {row['kernel_ms']:8.1f} ms   loop {row['loop_ms']:8.1f} ms   ratio {row['ratio']:5.1f}"
            sys.stdout.write(line + "\n")
    return 0 if min(row["ratio"] for row in results.values()) >= 20 else 1


if __name__ == "__main__":
    sys.exit(main())
