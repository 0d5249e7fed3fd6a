"""The scan kernel stays many times faster than the loop it replaces. A ratio in one run: other work slows both."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch

from posecli.ssm import multi_scan


def test_the_kernel_is_much_faster_than_the_loop() -> None:
    spec = importlib.util.spec_from_file_location("posecli_bench_scan", Path(__file__).with_name("bench_scan.py"))
    assert spec is not None
    assert spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = bench
    spec.loader.exec_module(bench)

    scan: Any = multi_scan  # mypy does not count what a star unpacks in front of other arguments
    values, order = bench.arguments(bench.SMALL)
    assert torch.allclose(bench.naive_scan(*values, order), scan(*values, order), rtol=1e-3, atol=1e-3)
    results = bench.measure(bench.SMALL)
    assert results["forward"]["ratio"] >= 8
    assert results["forward_backward"]["ratio"] >= 8
