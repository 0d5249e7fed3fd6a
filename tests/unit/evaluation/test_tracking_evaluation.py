"""Tracks against labels: who counts, who is excused, where identities change. The formulas are tested in ``tests/parity``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from posecli.errors import FormatError
from posecli.evaluation.clip_tracks import clip_tracks
from posecli.evaluation.clips import Clip, clip_of
from posecli.evaluation.overlap import covered_fraction, overlap
from posecli.evaluation.tracking import evaluate_tracking


@pytest.fixture
def clip(walk_labels, walk_poses) -> Clip:
    return clip_of(walk_poses(), walk_labels)[0]


def test_perfect_tracks_score_everything_under_both_criteria(clip) -> None:
    report = evaluate_tracking([clip])
    assert list(report.scores) == ["box", "oks"]
    for scores in report.scores.values():
        numbers = scores.percentages()
        assert [numbers[name] for name in ("hota", "det_a", "ass_a", "idf1", "mota")] == pytest.approx([100.0] * 5)
        assert scores.counts()["id_switches"] == 0
        assert scores.counts()["mostly_tracked"] == 2
    assert (report.num_clips, report.num_frames, report.num_people, report.num_tracks) == (1, 12, 2, 2)
    name, values = report.rows()[0]
    assert name == "hota"
    assert values == pytest.approx([100.0, 100.0])


def test_a_switch_is_named_with_frame_and_tracks(clip) -> None:
    swapped = np.where(clip.people.image_ids >= 106, 3 - clip.people.track_ids, clip.people.track_ids)
    report = evaluate_tracking([replace(clip, people=replace(clip.people, track_ids=swapped))])
    document = orjson.loads(orjson.dumps(report.to_json()))
    assert document["box"]["id_switches"] == 2
    assert document["box"]["mota"] == pytest.approx(100 * (24 - 2) / 24)
    assert document["box"]["idf1"] == 50.0
    assert document["box"]["switches"][0] == {
        "clip": "walk",
        "frame_index": 6,
        "person": 1,
        "from_track": 1,
        "to_track": 2,
    }


def test_right_boxes_with_wrong_poses_fail_by_oks_only(clip) -> None:
    wrong = replace(clip.people, keypoints=clip.people.keypoints + 9)
    report = evaluate_tracking([replace(clip, people=wrong)])
    assert report.scores["box"].mota.mota() == 100.0
    assert report.scores["oks"].mota.mota() == -100.0


def test_labels_without_keypoints_are_judged_by_boxes_alone(save_labels, walkers, walk_poses) -> None:
    document = walkers.document()
    for row in document["annotations"]:
        del row["keypoints"]
    report = evaluate_tracking([clip_of(walk_poses(), save_labels(document))[0]])
    assert list(report.scores) == ["box"]
    assert report.scores["box"].identity.idf1() == 100.0


def test_predictions_inside_crowds_count_neither_way(save_labels, walkers, walk_poses) -> None:
    document = walkers.document(is_there=lambda track, frame: track == 1)
    alone = evaluate_tracking([clip_of(walk_poses(), save_labels(document))[0]]).scores["box"]
    assert alone.mota.num_false == 12
    for frame in range(12):
        crowd = {"id": 900 + frame, "image_id": 100 + frame, "category_id": 1, "bbox": [0, 20, 64, 28], "iscrowd": 1}
        document["annotations"].append(crowd)
    excused = evaluate_tracking([clip_of(walk_poses(), save_labels(document))[0]])
    assert excused.scores["box"].mota.num_false == 0
    assert excused.scores["oks"].mota.num_false == 0
    assert excused.num_tracks == 1


def test_by_poses_people_without_points_are_excused(save_labels, walkers, walk_poses) -> None:
    document = walkers.document()
    for row in document["annotations"]:
        if row["track_id"] == 2:
            del row["keypoints"]
    labels = save_labels(document)
    clip, _ = clip_of(walk_poses(), labels)
    report = evaluate_tracking([clip])
    assert report.scores["box"].mota.num_matched == 24
    assert report.scores["oks"].mota.num_matched == 12
    assert report.scores["oks"].mota.num_false == 0
    # somebody who is where a labelled person is, and nobody's pose, is not excused by boxes
    assert clip_tracks(clip.people, labels, criterion="box").num_predicted_ids == 2


def test_everybody_needs_a_track(save_labels, walkers, walk_poses) -> None:
    document = walkers.document()
    del document["annotations"][3]["track_id"]
    clip, _ = clip_of(walk_poses(), save_labels(document))
    with pytest.raises(FormatError, match=r"annotation 4 has no track_id \(tracking needs one for everybody\)"):
        evaluate_tracking([clip])


def test_clips_keep_their_people_apart(clip) -> None:
    report = evaluate_tracking([clip, replace(clip, name="again")])
    assert (report.num_clips, report.num_people, report.num_tracks) == (2, 4, 4)
    assert report.scores["box"].identity.idf1() == 100.0


def test_nothing_labelled_is_no_number(clip) -> None:
    nobody = clip.labels.truth
    columns = ("annotation_ids", "image_ids", "keypoints", "boxes", "areas", "is_crowd")
    empty = replace(nobody, **{name: getattr(nobody, name)[:0] for name in columns})
    labels = replace(clip.labels, truth=empty, track_ids=clip.labels.track_ids[:0])
    scores = evaluate_tracking([replace(clip, labels=labels)]).scores["box"]
    numbers = scores.percentages()
    assert {numbers[name] for name in ("hota", "idf1", "mota", "recall", "motp")} == {None}
    assert numbers["precision"] == 0.0
    assert scores.counts()["false"] == 24


def test_overlap_of_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [3, 3, 3, 3]], np.float32)
    np.testing.assert_allclose(overlap(boxes, boxes)[0], [1, 1 / 3, 0])
    assert overlap(boxes[2:], boxes[2:]).tolist() == [[0.0]]
    np.testing.assert_allclose(covered_fraction(boxes, boxes[:1])[:, 0], [1, 0.5, 0])
