"""People in 3D for the tests of the figures."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from posecli.records import Annotation, FrameTable, PoseSequence3D, VideoInfo
from posecli.skeletons import H36M17

FPS = 25
STANDING_MM = {
    "root": (0, 0, 0),
    "right_hip": (-130, 0, 0),
    "right_knee": (-140, 430, 0),
    "right_ankle": (-150, 860, 0),
    "left_hip": (130, 0, 0),
    "left_knee": (140, 430, 0),
    "left_ankle": (150, 860, 0),
    "spine": (0, -240, 0),
    "thorax": (0, -480, 0),
    "neck": (0, -560, 0),
    "head": (0, -640, 0),
    "left_shoulder": (180, -480, 0),
    "left_elbow": (220, -200, 0),
    "left_wrist": (230, 50, 0),
    "right_shoulder": (-180, -480, 0),
    "right_elbow": (-220, -200, 0),
    "right_wrist": (-230, 50, 0),
}


@pytest.fixture(scope="session")
def person_3d() -> Callable[..., PoseSequence3D]:
    """Somebody who swings their arms on a path: ``path_mm`` (T, 3) of the root in the camera's frame, or None if nobody knows it."""

    def make(
        num_frames: int, *, path_mm: np.ndarray | None = None, track_id: int = 1, first_frame: int = 0
    ) -> PoseSequence3D:
        standing = np.array([STANDING_MM[name] for name in H36M17.joint_names], np.float32)
        joints = np.tile(standing, (num_frames, 1, 1))
        swing = 400 * np.sin(np.arange(num_frames) / 4)
        for name, sign in (("left_wrist", 1), ("right_wrist", -1)):
            joints[:, H36M17.joint_names.index(name), 2] = sign * swing
        root = np.full((num_frames, 3), np.nan) if path_mm is None else path_mm
        return PoseSequence3D(
            track_id=track_id,
            skeleton="h36m17",
            frame_indices=np.arange(first_frame, first_frame + num_frames),
            joints_mm=joints,
            root_mm=np.asarray(root, np.float32),
            scores=np.ones((num_frames, len(H36M17)), np.float32),
        )

    return make


@pytest.fixture(scope="session")
def annotation_3d() -> Callable[..., Annotation]:
    """Some people in a video that need not exist."""

    def make(*people: PoseSequence3D, num_frames: int | None = None, path: Path = Path("video.mp4")) -> Annotation:
        count = num_frames or max(int(person.frame_indices[-1]) + 1 for person in people)
        info = VideoInfo(
            path=path,
            width_px=320,
            height_px=240,
            fps=Fraction(FPS),
            num_frames_from_header=count,
            duration_s=count / FPS,
            rotation_deg=0,
            time_base=Fraction(1, FPS),
            codec="h264",
            pixel_format="yuv420p",
            colour="bt709",
            is_hdr=False,
            has_audio=False,
        )
        table = FrameTable(np.arange(count), np.arange(count) / FPS, np.zeros(count, bool))
        return Annotation(info, table, (), poses_3d=people)

    return make
