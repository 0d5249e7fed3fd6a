"""The ablation script: what variants are shown of a window, and the intervals of its report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from posecli.training.schedule import learning_rate

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"posecli_tests_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load("bench_ablation")


@pytest.fixture(scope="module")
def report() -> ModuleType:
    return load("report_ablation")


def test_variants_are_shown_the_frames_they_say(bench: ModuleType) -> None:
    frames = torch.arange(5).repeat(2, 1) + torch.tensor([[0], [10]])  # (B, T): frame 2 of window 1 is 12
    parts = {variant.name: [part.tolist() for part in variant.parts(frames)] for variant in bench.VARIANTS}
    assert parts["full"] == parts["linear"] == [frames.tolist()]
    assert parts["t3"] == [[[1, 2, 3], [11, 12, 13]]]
    assert parts["t1"] == [[[2], [12]]]
    assert parts["t1-frames"] == [[[n] for n in (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)]]
    assert parts["t1-long"] == [[[n], [n + 10]] for n in range(5)]


def test_a_run_of_more_updates_has_the_same_learning_rates_by_step(bench: ModuleType) -> None:
    usual, longer = bench.Schedule(200, 1e-3, 50), bench.Schedule(1000, 1e-3, 250)
    for step in (60, 100, 199):
        assert learning_rate(longer, 5 * step) == pytest.approx(learning_rate(usual, step), rel=1e-6)


def test_spoiling_strikes_the_point_and_is_the_same_every_time(bench: ModuleType) -> None:
    image = np.full((64, 48, 3), 100, np.uint8)
    spoiled = bench.spoil(image, np.array([[20.0, 30.0]], np.float32), seed=3)
    assert (spoiled != image)[30, 20].any()
    assert (spoiled == image)[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert np.array_equal(spoiled, bench.spoil(image, np.array([[20.0, 30.0]], np.float32), seed=3))
    # a point outside the crop: the rectangle stays at the border
    assert (bench.spoil(image, np.array([[20.0, 500.0]], np.float32), seed=3) != image)[-1, 20].any()


def test_intervals_hold_the_value_and_shrink_with_the_number_of_windows(report: ModuleType) -> None:
    rng = np.random.default_rng(0)
    widths = []
    for size in (50, 800):
        counts = rng.integers(4, 13, size)
        entry = report.interval(rng.binomial(counts, 0.7).astype(float), counts)
        low, high = entry["interval"]
        assert low < entry["value"] < high
        assert entry["value"] == pytest.approx(70, abs=6)
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.4)


def run_of(variant: str, seed: int, right: list[int]) -> dict[str, Any]:
    measures = {"limb_0.1": right}
    return {
        "variant": variant,
        "seed": seed,
        "parameters": 1,
        "updates": 1,
        "seconds": 2.0,
        "training_loss": 0.5,
        "counts": {"limb_0.1": [10, 10, 20]},
        "right": {"rendered": measures},
    }


def test_variants_are_compared_with_full_of_the_same_seeds(report: ModuleType) -> None:
    runs = [run_of("full", 1, [9, 8, 18]), run_of("full", 2, [5, 4, 10]), run_of("t1", 1, [8, 7, 16])]
    summary = report.summarise(runs)
    assert summary["full"]["pck"]["rendered"]["limb_0.1"]["value"] == pytest.approx(100 * 27 / 40)
    assert summary["full"]["pck"]["rendered"]["limb_0.1"]["by_seed"] == pytest.approx([87.5, 47.5])
    entry = summary["t1"]["pck"]["rendered"]["limb_0.1"]
    assert entry["value"] == pytest.approx(77.5)
    # every window loses a tenth, so there is nothing uncertain about the difference
    assert entry["against_full"]["value"] == pytest.approx(-10.0)
    assert entry["against_full"]["interval"] == pytest.approx([-10.0, -10.0])
