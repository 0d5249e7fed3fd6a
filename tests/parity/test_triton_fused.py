"""The Triton kernels of a block, norm and gate and deformable sampling, against their definitions, in Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).with_name("interpreted_fused.py")
TOLERANCES = {
    "norm and gate": 1e-5,
    "norm and gate, odd width": 1e-5,
    "norm and gate, large mean": 1e-5,
    "norm and gate in bfloat16": 8e-3,  # output and gradients are rounded to 8 bits
    "norm and gate, many parts": 1e-5,
    "deform": 1e-5,
    "deform, odd width": 1e-5,
    "deform at rest": 1e-5,
    "deform, strange offsets": 0.0,
}


@pytest.fixture(scope="module")
def measured() -> Any:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", TOLERANCES)
def test_values_and_gradients(case: str, measured: Any) -> None:
    assert measured[case]
    assert max(measured[case]) <= TOLERANCES[case]
    assert set(measured) == set(TOLERANCES)
