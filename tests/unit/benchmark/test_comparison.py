"""Measuring in turns, and the benchmark scripts' documentation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from posecli.benchmark.comparison import Comparison, compare


def test_sides_take_turns_and_the_first_turn_does_not_count() -> None:
    called: list[str] = []

    def side(name: str, times: list[float]) -> float:
        called.append(name)
        return times[called.count(name) - 1]

    result = compare({"a": lambda: side("a", [99, 2, 4]), "b": lambda: side("b", [1, 8, 6])}, rounds=2)
    assert called == ["a", "b"] * 3
    assert result.rounds_ms == {"a": (2, 4), "b": (8, 6)}


def test_ratios_of_least_times_and_of_rounds() -> None:
    result = Comparison({"slow": (10.0, 30.0, 20.0), "fast": (5.0, 5.0, 4.0)})
    assert result.min_ms("slow") == 10.0
    assert result.median_ms("slow") == 20.0
    assert result.ratio("slow", "fast") == 2.5
    assert result.median_ratio("slow", "fast") == 5.0
    assert result.to_json()["fast"] == {"min_ms": 4.0, "median_ms": 5.0, "rounds_ms": [5.0, 5.0, 4.0]}


def scripts() -> list[Path]:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    return [path for pattern in ("bench_*.py", "check_*.py") for path in sorted(folder.glob(pattern))]


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)
def test_every_script_says_the_command_that_runs_it(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert f"python tests/benchmarks/{path.name}" in docstring
