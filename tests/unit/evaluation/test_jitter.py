from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from posecli.evaluation.clip_keypoints import judge_clips
from posecli.evaluation.clips import clip_of
from posecli.evaluation.jitter import measure_jitter


def zigzag(pose, amplitude_px: float):
    """Every other frame moved sideways: an acceleration of four amplitudes a frame squared."""
    signs = np.where(np.arange(len(pose)) % 2 == 0, amplitude_px, -amplitude_px).astype(np.float32)
    points = pose.keypoints.copy()
    points[..., 0] += signs[:, None]
    return points


def test_steady_walkers_do_not_tremble(walk_poses) -> None:
    report = measure_jitter(walk_poses())
    assert report.final.percent_per_frame2 == pytest.approx(0, abs=1e-4)
    assert (report.video, report.num_tracks, report.num_poses) == ("walk.mp4", 2, 24)


def test_a_zigzag_is_measured_in_sizes_of_the_person(walk_poses) -> None:
    poses = walk_poses()
    shaken = replace(poses, poses=tuple(replace(pose, raw_keypoints=zigzag(pose, 0.5)) for pose in poses.poses))
    report = measure_jitter(shaken)
    box = poses.poses[0].boxes[0]
    size = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    assert report.raw.percent_per_frame2 == pytest.approx(100 * 2.0 / size, rel=1e-4)
    assert report.raw.sizes_per_s2 == pytest.approx(2.0 / size * 25**2, rel=1e-4)
    assert report.final.percent_per_frame2 == pytest.approx(0, abs=1e-4)
    document = orjson.loads(orjson.dumps(report.to_json()))
    assert document["per_keypoint_percent_per_frame2"]["nose"]["raw"] == pytest.approx(100 * 2.0 / size, rel=1e-4)
    assert len(document["per_keypoint_percent_per_frame2"]) == 19


def test_gaps_are_not_accelerations_and_long_tracks_count_more(walk_poses) -> None:
    poses = walk_poses()
    first, second = poses.poses
    gapped = replace(
        first,
        **{
            name: getattr(first, name)[[0, 1, 5, 6]]
            for name in (
                *("frame_indices", "keypoints", "raw_keypoints", "scores", "boxes", "box_scores", "interpolated"),
            )
        },
    )
    alone = measure_jitter(replace(poses, poses=(gapped,)))
    assert alone.raw.percent_per_frame2 is None
    shaken = replace(second, keypoints=zigzag(second, 0.5))
    both = measure_jitter(replace(poses, poses=(gapped, shaken)))
    only = measure_jitter(replace(poses, poses=(shaken,)))
    assert both.final.percent_per_frame2 == pytest.approx(only.final.percent_per_frame2)
    half = measure_jitter(replace(poses, poses=(first, shaken)))
    assert only.final.percent_per_frame2 is not None
    assert half.final.percent_per_frame2 == pytest.approx(only.final.percent_per_frame2 / 2, rel=1e-4)


def test_no_people_is_no_number(walk_poses) -> None:
    report = measure_jitter(replace(walk_poses(), poses=()))
    assert report.raw.to_json() == {"percent_per_frame2": None, "box_sizes_per_s2": None}
    assert report.per_keypoint == {}


def test_against_labels_only_what_the_labels_do_not_do_is_an_error(walk_labels, walk_poses) -> None:
    poses = walk_poses()
    shaken = replace(poses, poses=tuple(replace(pose, keypoints=zigzag(pose, 0.5)) for pose in poses.poses))
    motion = judge_clips([clip_of(shaken, walk_labels)[0]], boxes="predicted").report.motion
    assert motion is not None
    expected = measure_jitter(shaken).final.percent_per_frame2
    assert motion["predicted"] == pytest.approx(expected, rel=1e-4)
    assert motion["error"] == pytest.approx(expected, rel=1e-4)
    assert motion["labelled"] == pytest.approx(0, abs=1e-4)


def test_missing_points_and_people_without_tracks_say_nothing(save_labels, walkers, walk_poses) -> None:
    document = walkers.document()
    for row in document["annotations"]:
        del row["track_id"]
    clip, _ = clip_of(walk_poses(), save_labels(document))
    motion = judge_clips([clip], boxes="predicted").report.motion
    assert motion == {"predicted": None, "labelled": None, "error": None}
