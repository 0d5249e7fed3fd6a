from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posecli.evaluation.judgement import KeypointReport, PersonMarks, judge_people
from posecli.evaluation.predictions import untracked_people
from posecli.evaluation.worst_sheet import Moment, choose_worst, worst_sheet, worst_stills
from posecli.formats.ground_truth import GroundTruth, LabelledImage

ORANGE, BLUE = (255, 130, 20), (70, 170, 255)


def judged(truth: GroundTruth, offset_px: float) -> KeypointReport:
    """The second person is predicted ``offset_px`` too far right, the first one is not found."""
    points = truth.keypoints[1:2, :, :2] + np.array([offset_px, 0], np.float32)
    people = untracked_people(
        truth.image_ids[1:2], points, np.full((1, 19), 0.9, np.float32), truth.boxes[1:2], np.ones(1, np.float32)
    )
    return judge_people(people, truth, np.array([-1, 0]))


def test_marks_of_single_people(labelled) -> None:
    marks = judged(labelled, 0.0).people
    assert marks.oks.tolist() == pytest.approx([0.0, 1.0])
    assert marks.pck.tolist() == [0.0, 1.0]
    assert np.isinf(marks.error[0])
    assert marks.worst().tolist() == [0, 1]
    off = judged(labelled, 3.6).people
    assert off.error[1] == pytest.approx(0.1)
    assert 0 < off.oks[1] < 1


def test_the_per_keypoint_table_leaves_out_what_nobody_labels(labelled) -> None:
    rows = judged(labelled, 0.0).keypoint_rows()
    assert len(rows) == 19
    assert rows[0] == ("nose", [50.0, 50.0, 50.0])
    unlabelled = labelled.keypoints.copy()
    unlabelled[:, 0] = 0
    fewer = judged(replace_keypoints(labelled, unlabelled), 0.0).keypoint_rows()
    assert [name for name, _ in fewer][:2] == ["left_eye", "right_eye"]


def replace_keypoints(truth: GroundTruth, keypoints: np.ndarray) -> GroundTruth:
    from dataclasses import replace

    return replace(truth, keypoints=keypoints)


def test_stills_are_named_by_id_and_file(labelled) -> None:
    marks = judged(labelled, 0.0).people
    chosen = choose_worst(marks, labelled, 5)
    assert [person.title for person in chosen] == ["1. id 1  1.png", "2. id 2  2.png"]
    assert len(choose_worst(marks, labelled, 1)) == 1


def test_nobody_is_shown_twice_within_half_a_second() -> None:
    count = 60
    marks = PersonMarks(
        truth_rows=np.zeros(count, np.int64),
        rows=np.zeros(count, np.int64),
        keypoints=np.zeros((count, 19, 2), np.float32),
        point_scores=np.zeros((count, 19), np.float32),
        oks=np.linspace(0, 1, count),
        pck=np.zeros(count),
        error=np.zeros(count),
    )
    truth = GroundTruth(
        path=Path("walk.json"),
        images=(LabelledImage(3, "3.png", 64, 48),),
        annotation_ids=np.array([7]),
        image_ids=np.array([3]),
        keypoints=np.zeros((1, 19, 3), np.float32),
        boxes=np.zeros((1, 4), np.float32),
        areas=np.zeros(1, np.float32),
        is_crowd=np.zeros(1, np.bool_),
        labelled_points=np.arange(19),
    )
    moments = {place: Moment(("walk", place % 2), place) for place in range(count)}
    chosen = choose_worst(marks, truth, 8, moments=moments)
    assert [person.place for person in chosen] == [0, 1, 16, 17, 32, 33, 48, 49]
    assert chosen[2].title == "3. walk  frame 16  track 0"


def test_poses_are_coloured_and_labels_white(labelled, tmp_path: Path) -> None:
    report = judged(labelled, 3.0)
    sheet = worst_stills(report.people, labelled, tmp_path, 2)
    assert sheet.shape == (332, 658, 3)
    missed, found = sheet[6:326, 6:326], sheet[6:326, 332:652]
    for colour in (ORANGE, BLUE):
        # of the missed person only the hearts of the labels have these colours
        assert 0 < 2 * count(missed, colour) < count(found, colour)
    assert min(count(missed, (255, 255, 255)), count(found, (255, 255, 255))) > 100


def count(cell: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((cell == np.array(colour, np.uint8)).all(axis=-1).sum())


def test_many_people_fill_rows(labelled) -> None:
    report = judged(labelled, 3.0)
    people = choose_worst(report.people, labelled, 2)
    pictures = {image.image_id: np.zeros((48, 64, 3), np.uint8) for image in labelled.images}
    sheet = worst_sheet(people * 4, report.people, labelled, pictures, columns=3)
    assert sheet.shape == (3 * 326 + 6, 3 * 326 + 6, 3)
    assert (sheet[700:, 700:] == 32).all()
