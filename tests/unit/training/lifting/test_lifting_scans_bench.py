"""The script that compares scans: fair sizes, runs that go on to the bit, and differences taken recording by recording."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from posecli.training.lifting.recipe import LiftSchedule

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "bench_lifting_scans.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("posecli_tests_bench_lifting_scans", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("width", "depth"), [(16, 1), (64, 3)])
def test_the_convolution_network_is_as_large_as_the_lifters(bench: ModuleType, width: int, depth: int) -> None:
    sizes = {variant: bench.count(bench.build(variant, width, depth)) for variant in bench.VARIANTS}
    assert sizes["unidirectional"] == sizes["bidirectional"] == sizes["global-local"]
    assert sizes["tcn"] == pytest.approx(sizes["global-local"], rel=0.06 if width == 16 else 0.02)


def test_scans_begin_with_the_same_values(bench: ModuleType, tmp_path: Path) -> None:
    states = [learner_of(bench, variant, tmp_path).network.state_dict() for variant in bench.VARIANTS[:3]]
    for state in states[1:]:
        assert all(torch.equal(value, state[name]) for name, value in states[0].items())


@pytest.mark.parametrize("variant", ["global-local", "tcn"])
def test_a_run_goes_on_to_the_bit(bench: ModuleType, variant: str, tmp_path: Path) -> None:
    batches = [torch.randn(2, 2, 5, 17, 3, generator=torch.Generator().manual_seed(step)) for step in range(3)]
    whole = learner_of(bench, variant, tmp_path / "whole")
    for inputs, true in batches:
        whole.learn(inputs, true)
    first = learner_of(bench, variant, tmp_path / "parts")
    for inputs, true in batches[:2]:
        first.learn(inputs, true)
    first.save()
    second = learner_of(bench, variant, tmp_path / "parts")
    assert second.step == 2
    second.learn(*batches[2])
    assert second.losses == whole.losses
    found, expected = second.optimisation.averaged, whole.optimisation.averaged
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def learner_of(bench: ModuleType, variant: str, folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    schedule = LiftSchedule(steps=4, lengths=(5,), frames_per_step=10, warmup_steps=1)
    return bench.Learner(variant, bench.Settings(1, 16, 1, schedule), 1, folder)


def test_differences_are_taken_recording_by_recording(bench: ModuleType) -> None:
    results = [
        result_of("global-local", 1, {"walk": 30.0, "dance": 90.0}),
        result_of("global-local", 2, {"walk": 32.0, "dance": 94.0}),
        result_of("tcn", 1, {"walk": 33.0, "dance": 95.0}),
    ]
    summary = bench.summarise(results)
    assert list(summary) == ["global-local", "tcn"]
    # of the seed that both have: 3 and 5 mm
    against = summary["tcn"]["exact joints"]["against_full"]
    assert against == pytest.approx({"mean_mm": 4.0, "standard_error_mm": 1.0})
    assert summary["global-local"]["exact joints"]["mpjpe_mm"] == pytest.approx(61.5)
    assert summary["global-local"]["joints with errors"]["by_seed"] == {1: 60.0, 2: 63.0}


def result_of(variant: str, seed: int, by_recording: dict[str, float]) -> dict[str, Any]:
    mean = sum(by_recording.values()) / len(by_recording)
    judged = {"mpjpe_mm": mean, "p_mpjpe_mm": mean, "mpjve_mm": 1.0, "by_recording": by_recording}
    return {
        "variant": variant,
        "seed": seed,
        "parameters": 1,
        "seconds": 2.0,
        "training_loss": 0.5,
        "judged": {"exact joints": judged, "joints with errors": judged},
    }
