"""Whatever the poses: write, read, write gives the same bytes, and the numbers differ by the documented rounding only."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posecli.formats.boxes import read_boxes
from posecli.formats.coco import read_coco_dataset, write_coco_dataset
from posecli.formats.posetrack import read_posetrack, write_posetrack
from posecli.records import Annotation, FrameTable, PoseSequence, PoseSequence3D, VideoInfo
from posecli.skeletons import POSECLI19, POSETRACK18, mapping

NUM_FRAMES = 6
COORDINATES = st.floats(-500, 7680, width=32)
POINTS = st.one_of(COORDINATES, st.just(float("nan")))
SCORES = st.floats(0, 1, width=32)
MILLIMETRES = st.one_of(st.floats(-3000, 3000, width=32), st.just(float("nan")))


@st.composite
def pose_sequences(draw: st.DrawFn, track_id: int, first_frame: int) -> PoseSequence:
    rows = sorted(draw(st.sets(st.integers(0, NUM_FRAMES - 1), min_size=0, max_size=NUM_FRAMES)))
    count = len(rows)
    corners = draw(arrays(np.float32, (count, 2), elements=COORDINATES))
    sizes = draw(arrays(np.float32, (count, 2), elements=st.floats(0, 2000, width=32)))
    return PoseSequence(
        track_id=track_id,
        skeleton="posecli19",
        frame_indices=np.array(rows, np.int64) + first_frame,
        keypoints=draw(arrays(np.float32, (count, 19, 2), elements=POINTS)),
        raw_keypoints=draw(arrays(np.float32, (count, 19, 2), elements=POINTS)),
        scores=draw(arrays(np.float32, (count, 19), elements=SCORES)),
        boxes=np.concatenate([corners, corners + sizes], axis=1),
        box_scores=draw(arrays(np.float32, count, elements=SCORES)),
        interpolated=draw(arrays(np.bool_, count)),
    )


@st.composite
def poses_in_3d(draw: st.DrawFn, pose: PoseSequence) -> PoseSequence3D:
    joints = draw(arrays(np.float32, (len(pose), 17, 3), elements=MILLIMETRES, fill=st.just(0.0)))
    return PoseSequence3D(
        track_id=pose.track_id,
        skeleton="h36m17",
        frame_indices=pose.frame_indices,
        joints_mm=joints,
        root_mm=draw(arrays(np.float32, (len(pose), 3), elements=MILLIMETRES)),
        scores=draw(arrays(np.float32, (len(pose), 17), elements=SCORES)),
    )


@st.composite
def annotated_videos(draw: st.DrawFn) -> Annotation:
    first_frame = draw(st.integers(0, 5000))
    track_ids = draw(st.lists(st.integers(0, 999), unique=True, max_size=3))
    video = VideoInfo(
        path=Path(draw(st.text("aZ0 ü漢", min_size=1, max_size=8)).strip() or "x").with_suffix(".mp4"),
        width_px=draw(st.integers(1, 7680)),
        height_px=draw(st.integers(1, 4320)),
        fps=draw(st.none() | st.fractions(Fraction(1, 100), 240)),
        num_frames_from_header=draw(st.none() | st.integers(0, 10**6)),
        duration_s=draw(st.none() | st.floats(0, 1e6)),
        rotation_deg=draw(st.sampled_from([0, 90, 180, 270])),
        time_base=draw(st.fractions(Fraction(1, 10**6), 1)),
        codec="h264",
        pixel_format="yuv420p",
        colour="bt709",
        is_hdr=draw(st.booleans()),
        has_audio=draw(st.booleans()),
    )
    frames = FrameTable(
        pts=draw(arrays(np.int64, NUM_FRAMES, elements=st.integers(-(2**40), 2**40))),
        time_s=draw(arrays(np.float64, NUM_FRAMES, elements=st.floats(-10, 1e6))),
        is_corrupt=draw(arrays(np.bool_, NUM_FRAMES)),
    )
    poses = tuple(draw(pose_sequences(track_id, first_frame)) for track_id in track_ids)
    run = draw(st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=5), max_size=3))
    poses_3d = tuple(draw(poses_in_3d(pose)) for pose in poses if draw(st.booleans()))
    return Annotation(video, frames, poses, run, first_frame, poses_3d)


def present(pose: PoseSequence) -> np.ndarray:
    """(T, K): what the files call there."""
    return np.isfinite(pose.keypoints).all(axis=-1) & (np.round(pose.scores.astype(float), 5) > 0)


@settings(max_examples=60)
@given(annotation=annotated_videos(), skeleton=st.sampled_from(["coco17", "posecli19"]))
def test_a_coco_data_set_comes_back(annotation: Annotation, skeleton) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first.json", Path(folder) / "second.json"
        write_coco_dataset(annotation, first, skeleton=skeleton)
        back = read_coco_dataset(first)
        write_coco_dataset(back, second, skeleton=skeleton)
        assert first.read_bytes() == second.read_bytes()
        assert b"NaN" not in first.read_bytes()
    assert (back.video, back.run, back.first_frame_index) == (
        annotation.video,
        annotation.run,
        annotation.first_frame_index,
    )
    for name in ("pts", "time_s", "is_corrupt"):
        np.testing.assert_array_equal(getattr(back.frames, name), getattr(annotation.frames, name))
    for read, given_pose in zip(back.poses, annotation.poses, strict=True):
        there = present(given_pose)
        assert read.track_id == given_pose.track_id
        np.testing.assert_array_equal(read.frame_indices, given_pose.frame_indices)
        np.testing.assert_array_equal(read.interpolated, given_pose.interpolated)
        np.testing.assert_array_equal(np.isfinite(read.keypoints).all(axis=-1), there)
        np.testing.assert_allclose(read.keypoints[there], given_pose.keypoints[there], rtol=0, atol=1e-3)
        np.testing.assert_allclose(read.raw_keypoints, given_pose.raw_keypoints, rtol=0, atol=1e-3)
        np.testing.assert_allclose(read.boxes, given_pose.boxes, rtol=0, atol=2e-3)
        np.testing.assert_allclose(read.scores, np.where(there, given_pose.scores, 0), rtol=0, atol=1e-5)
        np.testing.assert_allclose(read.box_scores, given_pose.box_scores, rtol=0, atol=1e-5)
    for read_3d, given_3d in zip(back.poses_3d, annotation.poses_3d, strict=True):
        known = np.isfinite(given_3d.joints_mm).all(axis=-1)
        assert read_3d.track_id == given_3d.track_id
        np.testing.assert_array_equal(read_3d.frame_indices, given_3d.frame_indices)
        np.testing.assert_array_equal(np.isfinite(read_3d.joints_mm).all(axis=-1), known)
        np.testing.assert_allclose(read_3d.joints_mm[known], given_3d.joints_mm[known], rtol=0, atol=0.0505)
        np.testing.assert_allclose(read_3d.scores, np.where(known, given_3d.scores, 0), rtol=0, atol=1e-5)


@settings(max_examples=30)
@given(annotation=annotated_videos())
def test_a_posetrack_file_comes_back(annotation: Annotation) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_posetrack(annotation, Path(folder) / "poses.json")
        back = read_posetrack(Path(folder) / "poses.json")
    assert len(back.frame_ids) == NUM_FRAMES
    source = mapping(POSECLI19, POSETRACK18)
    ears = [POSETRACK18.index("left_ear"), POSETRACK18.index("right_ear")]
    by_id = {pose.track_id: pose for pose in back.poses}
    assert set(by_id) == {pose.track_id for pose in annotation.poses if len(pose)}
    for pose in annotation.poses:
        if len(pose):
            read, there = by_id[pose.track_id], present(pose)[:, source]
            there[:, ears] = False
            np.testing.assert_array_equal(read.frame_indices, pose.frame_indices - annotation.first_frame_index)
            np.testing.assert_array_equal(np.isfinite(read.keypoints).all(axis=-1), there)
            np.testing.assert_allclose(read.keypoints[there], pose.keypoints[:, source][there], rtol=0, atol=1e-3)
            np.testing.assert_allclose(read.scores[there], pose.scores[:, source][there], rtol=0, atol=1e-5)


@given(
    boxes=st.dictionaries(
        st.integers(0, 10**6),
        st.lists(
            st.tuples(COORDINATES, COORDINATES, st.floats(1, 900, width=32), st.floats(1, 900, width=32)), min_size=1
        ),
        max_size=4,
    )
)
def test_boxes_in_either_convention_are_the_same_boxes(boxes: dict[int, list[tuple[float, ...]]]) -> None:
    own = {
        "frames": [
            {"frame_index": i, "boxes": [[x, y, x + w, y + h] for x, y, w, h in rows]} for i, rows in boxes.items()
        ]
    }
    coco = [{"image_id": i + 1, "bbox": list(row)} for i, rows in boxes.items() for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "own.json").write_bytes(orjson.dumps(own))
        (Path(folder) / "coco.json").write_bytes(orjson.dumps(coco))
        left, right = read_boxes(Path(folder) / "own.json"), read_boxes(Path(folder) / "coco.json")
    assert list(left) == list(right) == sorted(boxes)
    for index, found in left.items():
        np.testing.assert_array_equal(found.boxes, right[index].boxes)
