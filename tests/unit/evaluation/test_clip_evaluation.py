"""Poses files against labels of a video: who is judged, matched, left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from posecli.errors import FormatError, OutputError, VideoError
from posecli.evaluation.clip_keypoints import judge_clips
from posecli.evaluation.clips import POSES_SUFFIXES, VIDEO_SUFFIXES, clip_of, pair_files
from posecli.evaluation.matching import match_people
from posecli.evaluation.sheet_file import write_sheet
from posecli.records import PoseSequence


def only_final(annotation, change):
    """The annotation with every sequence changed."""
    poses: tuple[PoseSequence, ...] = tuple(change(pose) for pose in annotation.poses)
    return replace(annotation, poses=poses)


def test_a_perfect_poses_file_scores_everything(walk_labels, walk_poses) -> None:
    clip, remarks = clip_of(walk_poses(), walk_labels)
    assert remarks == []
    report = judge_clips([clip], boxes="predicted").report
    assert (report.num_images, report.num_persons, report.num_found) == (12, 24, 24)
    assert report.oks == {"ap": 100.0, "ap50": 100.0, "ap75": 100.0, "ar": 100.0}
    assert report.pck["pck_box_0.05"]["all"] == 100.0
    assert report.motion is not None
    assert report.motion["error"] == pytest.approx(0, abs=1e-3)
    document = orjson.loads(orjson.dumps(report.to_json()))
    assert document["boxes"] == "predicted"
    assert set(document["motion"]) == {"predicted", "labelled", "error"}


def test_raw_points_are_judged_when_asked_for(walk_labels, walk_poses) -> None:
    poses = walk_poses(raw_px=4.0)
    assert judge_clips([clip_of(poses, walk_labels)[0]], boxes="predicted").report.pck["pck_box_0.1"]["all"] == 100.0
    raw, _ = clip_of(poses, walk_labels, is_raw=True)
    assert judge_clips([raw], boxes="predicted").report.pck["pck_box_0.1"]["all"] == 0.0


def test_only_covered_frames_are_judged_and_that_is_said(walk_labels, walk_poses) -> None:
    clip, remarks = clip_of(walk_poses(range(4, 9)), walk_labels)
    assert clip.labels.frame_indices.tolist() == [4, 5, 6, 7, 8]
    assert remarks == ["walk.mp4: 7 of 12 labelled frames are not in the poses file"]
    assert judge_clips([clip], boxes="predicted").report.num_persons == 10
    with pytest.raises(FormatError, match=r"no frame of walk.mp4, frames 30 to 31, is labelled"):
        clip_of(walk_poses([30, 31]), walk_labels)


def test_frames_between_labels_count_for_nothing(save_labels, walkers, walk_poses) -> None:
    labels = save_labels(walkers.document([0, 4, 8]))
    clip, _ = clip_of(walk_poses(), labels)
    assert clip.people.image_ids.tolist() == [100, 104, 108] * 2
    assert judge_clips([clip], boxes="predicted").report.oks["ap"] == 100.0


def test_people_nobody_labelled_cost_precision(save_labels, walkers, walk_poses) -> None:
    labels = save_labels(walkers.document(is_there=lambda track, frame: track == 1))
    poses = walk_poses()
    surer = (
        poses.poses[0],
        replace(poses.poses[1], box_scores=np.ones(12, np.float32)),
    )
    report = judge_clips([clip_of(replace(poses, poses=surer), labels)[0]], boxes="predicted").report
    assert report.num_found == 12
    assert report.oks["ar"] == 100.0
    assert report.oks["ap"] == pytest.approx(50.0, abs=3)


def test_labels_of_another_picture_size_are_refused(walk_labels, walk_poses) -> None:
    poses = walk_poses()
    other = replace(poses, video=replace(poses.video, width_px=640))
    with pytest.raises(FormatError, match=r"image 100 is 64x48 px, the poses are of a video of 640x48"):
        clip_of(other, walk_labels)


def test_a_box_that_shows_little_is_matched_by_its_pose(save_labels, walkers, walk_poses) -> None:
    document = walkers.document(range(1))
    document["annotations"][0]["bbox"][2:] = [2, 3]  # somebody stands in front
    labels = save_labels(document)
    clip, _ = clip_of(walk_poses(range(1)), labels)
    rows = np.arange(2)
    assert match_people(clip.people, labels.truth, rows).tolist() == [0, 1]
    elsewhere = replace(clip.people, keypoints=clip.people.keypoints + 30)
    assert match_people(elsewhere, labels.truth, rows).tolist() == [-1, 1]


def test_several_clips_are_judged_as_one(save_labels, walkers, walk_poses) -> None:
    good, _ = clip_of(walk_poses(), save_labels(walkers.document()))
    bad, _ = clip_of(walk_poses(range(4), offset_px=5.0), save_labels(walkers.document(range(4)), "other.json"))
    report = judge_clips([good, bad], boxes="predicted").report
    assert report.num_persons == 32
    assert report.pck["pck_box_0.1"]["all"] == 75.0
    averages = [judge_clips(clips, boxes="predicted").report.oks["ap"] or 0.0 for clips in ([bad], [good, bad], [good])]
    assert averages == sorted(set(averages))


def test_the_sheet_shows_the_worst_of_all_clips_on_their_frames(
    save_labels, walkers, walk_poses, make_video, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "walk.mp4", 12)
    poses = walk_poses()
    poses = replace(poses, video=replace(poses.video, path=video))
    bad = only_final(poses, lambda p: replace(p, keypoints=p.keypoints + 9 if p.track_id == 2 else p.keypoints))
    clip, _ = clip_of(bad, save_labels(walkers.document()))
    judged = judge_clips([clip], boxes="predicted")
    sheet = judged.worst_sheet(5)
    # each of the two people once: all their frames are close together
    assert sheet.shape == (332, 658, 3)
    worst = judged.report.people.worst()
    assert {int(judged.labels.track_ids[judged.report.people.truth_rows[i]]) for i in worst[:12]} == {2}
    write_sheet(sheet, tmp_path / "sheet.png")
    read = cv2.imread(str(tmp_path / "sheet.png"))
    assert read is not None
    np.testing.assert_array_equal(read[..., ::-1], sheet)
    with pytest.raises(OutputError, match="exists already"):
        write_sheet(sheet, tmp_path / "sheet.png")
    with pytest.raises(OutputError, match=r"cannot write .gif \(use .png\)"):
        write_sheet(sheet, tmp_path / "sheet.gif")
    short = make_video(tmp_path / "short.mp4", 3)
    cut = judge_clips([replace(clip, video=short)], boxes="predicted")
    late = replace(cut, report=replace(cut.report, people=replace(cut.report.people, oks=np.linspace(1, 0, 24))))
    with pytest.raises(VideoError, match=r"short.mp4: has no frame \d+, which is labelled"):
        late.worst_sheet(1)


def test_files_are_paired_by_name(tmp_path: Path) -> None:
    labels, others = tmp_path / "labels", tmp_path / "others"
    labels.mkdir()
    others.mkdir()
    for name in ("a.json", "b.json", "a.poses.json", "a.run.json"):
        (labels / name).write_text("{}")
    for name in ("a.poses.json", "a.json", "b.json", "a.mkv", "b.mp4"):
        (others / name).write_text("{}")
    assert pair_files(labels, others, POSES_SUFFIXES) == [
        (labels / "a.json", others / "a.poses.json"),
        (labels / "b.json", others / "b.json"),
    ]
    assert [video.name for _, video in pair_files(labels, others, VIDEO_SUFFIXES)] == ["a.mkv", "b.mp4"]
    assert pair_files(labels / "a.json", others / "b.mp4", VIDEO_SUFFIXES) == [(labels / "a.json", others / "b.mp4")]
    # labels and poses in one folder: a label file is not its own poses file
    with pytest.raises(FormatError, match=r"nothing for the labels b.json \(wanted is b.poses.json or b.json\)"):
        pair_files(labels, labels, POSES_SUFFIXES)
    with pytest.raises(FormatError, match="not a folder, but the labels"):
        pair_files(labels, others / "b.mp4", VIDEO_SUFFIXES)
    with pytest.raises(FormatError, match="no label files"):
        pair_files(tmp_path, others, VIDEO_SUFFIXES)
