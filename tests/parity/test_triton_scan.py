"""The Triton scan against the oracle in float64, in Triton's interpreter: values and all six gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).with_name("interpreted_scan.py")
TOLERANCE = 1e-5
HALF_TOLERANCE = 8e-3  # a gradient in bfloat16 has 8 bits
HALF = {"bfloat16 in words", "bfloat16, odd rank", "float16"}
CASES = [
    "one state, odd rank",
    "four directions, two outputs",
    "eight states, two blocks",
    "sixteen states, reading V",
    "odd width and length",
    "windows reset, uneven chunks",
    "windows reset, one chunk",
    "windows carried on",
    "dt raw +1000",
    "dt raw -30",
    "A = 0",
    "A = -1e6",
    *sorted(HALF),
    "batch in parts",
    "NaN and bits",
    "entry",
]


@pytest.fixture(scope="module")
def measured() -> Any:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, measured: Any) -> None:
    for name, error in measured[case].items():
        in_half = case in HALF and name in ("x", "proj")  # the output itself is float32, computed in float32
        assert error <= (HALF_TOLERANCE if in_half else TOLERANCE), f"{name} is off by {error:.1e}"


def test_every_case_is_looked_at(measured: Any) -> None:
    assert sorted(measured) == sorted(CASES)
    assert all(measured[case] for case in CASES)
