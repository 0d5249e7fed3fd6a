"""What every test stands on: one thread, no network, nobody's cache, and the random state as it was."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# Before NumPy or torch start their threads: two threads on two busy cores are far slower than one.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("posecli", deadline=None, derandomize=True, database=None)
settings.load_profile("posecli")


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("POSECLI_") and name != "POSECLI_REQUIRE_GPU"]:
        del os.environ[name]
    os.environ["POSECLI_OFFLINE"] = "1"
    os.environ["POSECLI_HOME"] = str(tmp_path_factory.getbasetemp() / "posecli-home")
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _restored_random_state() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    torch_state = None if torch is None else torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    if torch is not None:
        torch.set_rng_state(torch_state)


@pytest.fixture(autouse=True)
def _gpu_or_skip(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        if os.environ.get("POSECLI_REQUIRE_GPU"):
            pytest.fail("POSECLI_REQUIRE_GPU is set, but there is no CUDA device")
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_pose_config() -> Any:
    """A GLSMamba with every part, small enough to run in a millisecond."""
    return _beside("tiny_networks").POSE


@pytest.fixture(scope="session")
def tiny_weights(tiny_pose_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights at random, with heatmaps that have peaks."""
    import torch

    from posecli.pose.checkpoint import save_network
    from posecli.pose.network import PoseNetwork

    torch.manual_seed(0)
    network = PoseNetwork(tiny_pose_config)
    torch.nn.init.normal_(network.head.weight, std=0.3)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_network(path, network.state_dict(), tiny_pose_config, metadata={})
    return path


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """Write a small real video whose pictures carry their number; see `tests/video_factory.py`."""
    return _beside("video_factory").make_video


@pytest.fixture(scope="session")
def frame_number() -> Callable[[Any], int]:
    """Read the number back from a picture of `make_video`."""
    return _beside("video_factory").read_number


def _beside(file: str) -> ModuleType:
    # By path: test folders are no packages.
    name = f"posecli_tests_{file}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{file}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
