"""The released weights on the example clip, whose truth is known: a guard against shipping something broken, not a benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posecli.formats.ground_truth import read_ground_truth
from posecli.geometry import iou_matrix
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.settings import AnnotateSettings
from posecli.records import Annotation
from posecli.weights import WEIGHTS, verify_weights

NUM_PEOPLE = 3
MIN_PCK = 0.65


@pytest.mark.parametrize(
    "name", ["glsmamba-head", "glsmamba-m", "glsmamba-s", "glsmamba-xs", "personnet", "posecli-lifter"]
)
def test_every_weight_has_its_card(name: str, repository: Path) -> None:
    assert name in WEIGHTS
    card = (repository / "weights" / f"{name}.md").read_text(encoding="utf-8")
    for section in ("## Data", "## Training", "## Measured", "## Known failures"):
        assert section in card
    assert all(check.status == "ok" for check in verify_weights(name))


@pytest.fixture(scope="module")
def annotation(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Annotation:
    """The second of the example clip in which the three people walk apart."""
    clip = repository / "examples" / "rendered_people.mp4"
    out = tmp_path_factory.mktemp("example") / "poses.json"
    return annotate(clip, Outputs(out), AnnotateSettings(start_s=2.6, end_s=3.6)).annotation


def test_three_rendered_people_keep_three_ids(annotation: Annotation) -> None:
    assert len(annotation.frames) == 30
    assert [len(pose) for pose in annotation.poses] == [30] * NUM_PEOPLE
    assert all(float(np.median(pose.scores)) > 0.3 for pose in annotation.poses)


def test_most_points_are_near_the_rendered_truth(annotation: Annotation, repository: Path) -> None:
    """PCK@0.1 of the box over limb points, hidden ones included."""
    truth = read_ground_truth(repository / "examples" / "rendered_people.json")
    correct: list[bool] = []
    for frame in range(annotation.first_frame_index, annotation.first_frame_index + len(annotation.frames)):
        rows = truth.rows_by_image()[frame]
        found = [
            (p.keypoints[i], p.boxes[i]) for p in annotation.poses for i in np.flatnonzero(p.frame_indices == frame)
        ]
        overlap = iou_matrix(truth.boxes[rows], np.stack([box for _, box in found]))
        for row, best in zip(rows, overlap.argmax(axis=1), strict=True):
            longer = float((truth.boxes[row, 2:] - truth.boxes[row, :2]).max())
            distance = np.linalg.norm(found[best][0][5:17] - truth.keypoints[row, 5:17, :2], axis=-1)
            correct += (distance < 0.1 * longer).tolist()
    assert len(correct) == 30 * NUM_PEOPLE * 12
    assert np.mean(correct) > MIN_PCK


def test_the_run_record_names_all_weights(annotation: Annotation) -> None:
    """It named the detector where the detector's weights belong."""
    assert [(used["role"], used["name"]) for used in annotation.run["weights"]] == [
        ("pose", "glsmamba-m"),
        ("heads", "glsmamba-head"),
        ("detector", "personnet"),
    ]
