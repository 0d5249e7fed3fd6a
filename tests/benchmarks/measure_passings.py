"""How often legs that come together and part again have passed each other, in recordings of people seen from all around.

    python tests/benchmarks/measure_passings.py MOCAP [--cameras 4] [--seed 1] [--json]

MOCAP is an NPZ of 3D joints, one (T, 17, 3) array of millimetres a recording in the order of Human3.6M, y up, 30 frames a second.
Every recording is looked at by cameras far away, at random azimuths and about level. What `posecli.pose.passings` finds in the exact
points is counted by the first word of the recording's name: how often the leg that was ahead is behind afterwards. That is how far
`posecli.pose.sides` may trust it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from posecli.pose.passings import find_passings
from posecli.skeletons import H36M17, POSECLI19

FPS = 30.0
TILT_DEG = 10.0
JOINTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mocap", type=Path)
    parser.add_argument("--cameras", type=int, default=4, help="a recording")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    counts: dict[str, list[bool]] = defaultdict(list)
    with np.load(options.mocap) as recordings:
        for name in recordings.files:
            joints = recordings[name].astype(np.float64)
            for _ in range(options.cameras):
                keypoints = seen(joints, rng.uniform(0, 360), rng.normal(0, TILT_DEG))
                passings = find_passings(keypoints, np.arange(len(joints)) / FPS, POSECLI19)
                counts[name.split("_")[0]] += [passing.is_passing for passing in passings]
    result = {kind: {"found": len(found), "passed": sum(found)} for kind, found in counts.items()}
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for kind, row in result.items():
        share = 100 * row["passed"] / max(row["found"], 1)
        sys.stdout.write(f"{kind:12s} {row['passed']} of {row['found']} passed each other: {share:.1f} %\n")


def seen(joints: np.ndarray, azimuth_deg: float, tilt_deg: float) -> np.ndarray:
    """(T, 17, 3) mm, y up -> (T, 19, 2) as a camera far away sees it, y down; what Human3.6M lacks stays 0."""
    azimuth, tilt = np.radians([azimuth_deg, tilt_deg])
    across = np.array([np.cos(azimuth), 0.0, np.sin(azimuth)])
    away = np.array([-np.sin(azimuth), 0.0, np.cos(azimuth)])
    down = np.array([0.0, -np.cos(tilt), 0.0]) + np.sin(tilt) * away
    points = np.zeros((len(joints), len(POSECLI19), 2), np.float32)
    for name in (f"{side}_{joint}" for side in ("left", "right") for joint in JOINTS):
        place = joints[:, H36M17.joint_names.index(name)]
        points[:, POSECLI19.index(name)] = np.stack([place @ across, place @ down], axis=-1) / 4
    return points


if __name__ == "__main__":
    main()
