"""The embedded detector with its released weights, on the example clip of three walking people."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from posecli.people.detector import create_detector
from posecli.records import Frame


@pytest.mark.weights
def test_the_three_people_of_the_example_are_found(repository: Path) -> None:
    with av.open(str(repository / "examples" / "rendered_people.mp4")) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][::30]
    frames = [Frame(i, i, float(i), np.asarray(picture, np.uint8)) for i, picture in enumerate(pictures)]
    found = create_detector("embedded", min_score=0.5).detect(frames)
    counts = [len(detections.boxes) for detections in found]
    assert all(2 <= count <= 4 for count in counts)  # they cross: one may be hidden
    assert np.mean(counts) >= 2.5
    sides = np.concatenate([detections.boxes[:, 2:] - detections.boxes[:, :2] for detections in found])
    assert (sides[:, 1] > 1.5 * sides[:, 0]).mean() > 0.8  # walking people are upright


@pytest.mark.weights
def test_an_empty_picture_has_no_people() -> None:
    grey = np.full((270, 480, 3), 128, np.uint8)
    [found] = create_detector("embedded", min_score=0.5).detect([Frame(0, 0, 0.0, grey)])
    assert len(found.boxes) == 0
