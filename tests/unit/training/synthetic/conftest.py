"""The drawn assets of `tests/synthetic_factory.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from posecli.training.synthetic.assets import AssetPaths, Assets, open_assets
from posecli.training.synthetic.avatar import Avatar, read_avatar


@pytest.fixture(scope="session")
def factory() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "synthetic_factory.py"
    spec = importlib.util.spec_from_file_location("posecli_tests_synthetic_factory", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def asset_paths(factory: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> AssetPaths:
    paths = factory.write_assets(tmp_path_factory.mktemp("assets"))
    return AssetPaths(paths["avatars"], paths["motions"], paths["environments"], (paths["photographs"],))


@pytest.fixture
def assets(asset_paths: AssetPaths) -> Assets:
    return open_assets(asset_paths)


@pytest.fixture(scope="session")
def avatar(asset_paths: AssetPaths) -> Avatar:
    return read_avatar(asset_paths.avatars / "boxes.npz")
