"""The detectors behind their common protocol."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from posecli.errors import ConfigError, WeightsError
from posecli.people.detector import DETECTORS, create_detector
from posecli.people.personnet import PersonNet, PersonNetConfig
from posecli.records import Detections, Frame
from posecli.weights import save_weights

TINY = PersonNetConfig(width=0.1)


def make_frame(index: int, width: int = 64, height: int = 48) -> Frame:
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(index, index, index / 30, image)


@pytest.fixture
def tiny_weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = PersonNet(TINY)
    state = network.state_dict()
    state["centre.1.weight"].normal_(std=1.0)
    state["centre.1.bias"].zero_()
    path = tmp_path / "tiny.safetensors"
    save_weights(path, network.state_dict(), kind="detector", config=asdict(TINY))
    return path


def test_full_frame_is_the_frame_from_edge_to_edge() -> None:
    found = create_detector("full-frame").detect([make_frame(3), make_frame(4, 10, 20)])
    assert [detections.frame_index for detections in found] == [3, 4]
    assert found[0].boxes.tolist() == [[-0.5, -0.5, 63.5, 47.5]]
    assert found[1].boxes.tolist() == [[-0.5, -0.5, 9.5, 19.5]]
    assert found[0].scores.tolist() == [1.0]


def test_boxes_are_looked_up_by_frame_and_cut() -> None:
    given = {
        7: Detections(
            7,
            np.array([[1, 2, 30, 40], [50, 30, 90, 90], [70, 0, 80, 9]], np.float32),
            np.array([0.9, 0.5, 1], np.float32),
        )
    }
    detector = create_detector("boxes", boxes=given)
    empty, found = detector.detect([make_frame(6), make_frame(7)])
    assert (empty.frame_index, empty.boxes.shape, empty.scores.shape) == (6, (0, 4), (0,))
    assert found.boxes.tolist() == [[1, 2, 30, 40], [50, 30, 63.5, 47.5]]  # the third lies outside the picture
    assert create_detector("boxes", boxes=given, min_score=0.6).detect([make_frame(7)])[0].boxes.tolist() == [
        [1, 2, 30, 40]
    ]


def test_embedded_gives_ordered_boxes_inside_each_frame(tiny_weights: Path) -> None:
    detector = create_detector("embedded", weights=str(tiny_weights), min_score=0.4)
    frames = [make_frame(0), make_frame(5), make_frame(6, 100, 40), make_frame(9)]
    found = detector.detect(frames)
    assert [detections.frame_index for detections in found] == [0, 5, 6, 9]
    for frame, detections in zip(frames, found, strict=True):
        height, width = frame.image.shape[:2]
        assert 0 < len(detections.boxes) == len(detections.scores)
        assert (np.diff(detections.scores) <= 0).all()
        assert detections.scores.min() >= 0.4
        assert (detections.boxes >= -0.5).all()
        assert (detections.boxes <= np.array([width, height, width, height]) - 0.5).all()
        assert detections.boxes.dtype == detections.scores.dtype == np.float32


def test_embedded_does_not_depend_on_the_batch(tiny_weights: Path) -> None:
    detector = create_detector("embedded", weights=str(tiny_weights), min_score=0.4)
    frames = [make_frame(i) for i in range(3)]
    together, alone = detector.detect(frames), [detector.detect([frame])[0] for frame in frames]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-2)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)


def test_embedded_with_an_impossible_threshold_finds_nobody(tiny_weights: Path) -> None:
    detector = create_detector("embedded", weights=str(tiny_weights), min_score=1.0)
    assert detector.detect([]) == []
    [found] = detector.detect([make_frame(2)])
    assert found.boxes.shape == (0, 4)


def test_embedded_refuses_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "pose.safetensors"
    save_weights(path, {"a": torch.zeros(1)}, kind="pose", config={})
    with pytest.raises(WeightsError, match="pose weights"):
        create_detector("embedded", weights=str(path))
    path = tmp_path / "torn.safetensors"
    save_weights(path, {"a": torch.zeros(1)}, kind="detector", config=asdict(TINY))
    with pytest.raises(WeightsError, match="do not fit"):
        create_detector("embedded", weights=str(path))


@pytest.mark.parametrize(
    ("spec", "arguments", "message"),
    [
        ("hog", {}, "unknown detector 'hog'"),
        ("boxes:x.json", {}, "unknown detector"),
        ("boxes", {}, "needs boxes"),
        ("full-frame", {"boxes": {}}, "boxes were given too"),
        ("full-frame", {"weights": "personnet"}, "has no weights"),
        ("full-frame", {"min_score": 1.5}, "1.5 is not in"),
        ("yolo", {}, "needs a weights file"),
    ],
)
def test_wrong_requests_are_config_errors(spec: str, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_detector(spec, **arguments)


def test_every_detector_is_described() -> None:
    assert list(DETECTORS) == ["embedded", "yolo", "boxes", "full-frame"]
