"""Read a poses file and print one joint angle over time: how to use posecli's output from Python.

Run: python examples/knee_angle.py poses.json [TRACK_ID]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import posecli
from posecli.skeletons import get_skeleton


def knee_angles_deg(pose: posecli.PoseSequence, side: str) -> np.ndarray:
    """(T,) angle between thigh and shin in the picture plane; 180 is a straight leg, NaN where a point is missing."""
    skeleton = get_skeleton(pose.skeleton)
    hip, knee, ankle = (pose.keypoints[:, skeleton.index(f"{side}_{name}")] for name in ("hip", "knee", "ankle"))
    thigh, shin = hip - knee, ankle - knee
    cosine = (thigh * shin).sum(axis=1) / (np.linalg.norm(thigh, axis=1) * np.linalg.norm(shin, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def main() -> None:
    """Print frame, time and both knee angles of one person."""
    annotation = posecli.load(Path(sys.argv[1]))
    track_id = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    pose = next((pose for pose in annotation.poses if pose.track_id == track_id), None)
    if pose is None:
        raise SystemExit(f"no person {track_id}; there are {[pose.track_id for pose in annotation.poses]}")
    angles = [knee_angles_deg(pose, side) for side in ("left", "right")]
    times_s = annotation.frames.time_s[pose.frame_indices - annotation.first_frame_index]
    for frame, time_s, left, right in zip(pose.frame_indices, times_s, *angles, strict=True):
        sys.stdout.write(f"{frame:6d} {time_s:8.3f} s  left {left:6.1f}  right {right:6.1f}\n")


if __name__ == "__main__":
    main()
