from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from posecli.records import Annotation, FrameTable, PoseSequence, VideoInfo

NUM_FRAMES = 12
FIRST_FRAME = 30


def make_pose(track_id: int, frames: list[int], skeleton: str = "posecli19", seed: int = 0) -> PoseSequence:
    rng = np.random.default_rng(seed + track_id)
    shape = (len(frames), 19 if skeleton == "posecli19" else 17)
    keypoints = rng.uniform(-20, 1900, (*shape, 2)).astype(np.float32)
    scores = rng.uniform(0.01, 1, shape).astype(np.float32)
    keypoints[0, 3], scores[0, 3] = np.nan, 0.0
    raw = keypoints + rng.normal(0, 2, keypoints.shape).astype(np.float32)
    corner = rng.uniform(0, 900, (len(frames), 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 800, (len(frames), 2))], axis=1).astype(np.float32)
    return PoseSequence(
        track_id=track_id,
        skeleton=skeleton,
        frame_indices=np.array(frames, np.int64),
        keypoints=keypoints,
        raw_keypoints=raw,
        scores=scores,
        boxes=boxes,
        box_scores=rng.uniform(0.5, 1, len(frames)).astype(np.float32),
        interpolated=rng.random(len(frames)) < 0.3,
    )


def make_annotation(*poses: PoseSequence) -> Annotation:
    video = VideoInfo(
        path=Path("clips/läufer.mp4"),
        width_px=1920,
        height_px=1080,
        fps=Fraction(30000, 1001),
        num_frames_from_header=None,
        duration_s=12.345,
        rotation_deg=90,
        time_base=Fraction(1, 90000),
        codec="h264",
        pixel_format="yuv420p",
        colour="bt709",
        is_hdr=False,
        has_audio=True,
    )
    pts = np.arange(FIRST_FRAME, FIRST_FRAME + NUM_FRAMES, dtype=np.int64) * 3003
    frames = FrameTable(pts, pts / 90000, np.arange(NUM_FRAMES) == 4)
    return Annotation(video, frames, poses, {"posecli": "0.1.0", "settings": {"smooth": True}}, FIRST_FRAME)


@pytest.fixture
def annotation() -> Annotation:
    """Two people, one with a gap, twelve frames from frame 30 on, the fifth of them corrupt."""
    return make_annotation(make_pose(7, [30, 31, 32, 33]), make_pose(2, [31, 32, 35, 41]))


@pytest.fixture
def annotation_of():
    """Builds annotations from poses."""
    return make_annotation


@pytest.fixture
def pose_of():
    """Builds poses."""
    return make_pose
