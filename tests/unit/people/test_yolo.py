"""The adapter of ultralytics: its errors always, its detections where the extra is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecli.errors import DeviceError, WeightsError
from posecli.people.detector import create_detector
from posecli.records import Frame


def is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_extra = pytest.mark.skipif(
    not (is_installed("ultralytics") and is_installed("torchvision")), reason="the extra posecli[yolo] is not installed"
)


def make_frame(index: int, width: int, height: int) -> Frame:
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(index, index, index / 30, image)


def test_missing_file_is_said_before_anything_is_imported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pt: no such YOLO weights file .*posecli weights fetch yolo11n"):
        create_detector(f"yolo:{tmp_path / 'nowhere.pt'}")


def test_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)  # makes the import fail as if it were absent
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path))
    with pytest.raises(DeviceError, match="yolo") as caught:
        create_detector("yolo:yolo11n.yaml")
    assert "pip install 'posecli[yolo]'" in str(caught.value)


@needs_extra
@pytest.mark.filterwarnings("ignore")  # the package's own
@pytest.mark.parametrize("config", ["yolo11n.yaml", "yolo26n.yaml"])
def test_random_networks_keep_the_protocol(config: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path))
    threads = os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads()
    detector = create_detector(f"yolo:{config}", min_score=0.0)
    assert threads == (os.environ.get("OMP_NUM_THREADS"), cv2.getNumThreads())
    frames = [make_frame(4, 320, 240), make_frame(5, 320, 240), make_frame(6, 96, 200)]
    found = detector.detect(frames)
    assert [detections.frame_index for detections in found] == [4, 5, 6]
    for frame, detections in zip(frames, found, strict=True):
        height, width = frame.image.shape[:2]
        assert len(detections.boxes) > 0
        assert (np.diff(detections.scores) <= 0).all()
        assert (detections.boxes >= -0.5).all()
        assert (detections.boxes <= np.array([width, height, width, height]) - 0.5).all()


@needs_extra
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_no_network_is_a_weights_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path))
    path = tmp_path / "broken.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"broken\.pt"):
        create_detector(f"yolo:{path}")
