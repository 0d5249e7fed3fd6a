"""The embedded detector at work in several threads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from posecli.crew import Crew
from posecli.people.embedded import EmbeddedDetector
from posecli.records import Detections, Frame


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (6, 9, 16, 3), dtype=np.uint8)
    pictures = [np.ascontiguousarray(np.kron(picture, np.ones((20, 20, 1), np.uint8))) for picture in coarse]
    return [Frame(index, index, index / 25, picture) for index, picture in enumerate(pictures)]


@pytest.mark.weights
def test_every_thread_sees_the_same(frames: list[Frame]) -> None:
    """torch sends 1x1 convolutions to MKL, whose last digits depend on the thread; packed ones stay with oneDNN."""
    detector = EmbeddedDetector(min_score=1e-4)

    def look(frame: Frame) -> Detections:
        return detector.detect([frame])[0]

    expected = [look(frame) for frame in frames]
    assert sum(len(found.boxes) for found in expected) > 0
    with Crew(2) as crew:
        for _ in range(3):
            for ours, theirs in zip(crew.map(look, frames), expected, strict=True):
                assert np.array_equal(ours.boxes, theirs.boxes)
                assert np.array_equal(ours.scores, theirs.scores)
    torch.set_num_threads(2)
    for frame, theirs in zip(frames, expected, strict=True):
        assert np.array_equal(look(frame).boxes, theirs.boxes)
