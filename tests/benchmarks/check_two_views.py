"""Two synchronised cameras look at the same people: do the 3D poses lifted from each view agree?

    posecli annotate cam1.mp4 --3d --out cam1.json
    posecli annotate cam2.mp4 --3d --out cam2.json
    python tests/benchmarks/check_two_views.py cam1.json cam2.json [--calibration two_people_calibration.qca.txt --serials cam01,cam02]

For every person, the joints relative to the root of one view are turned into the other by one rotation for the whole clip (the best
one, Kabsch) and compared: mean distance over frames and 17 joints. It counts the errors of both views. People are paired so that the
sum is least. With the calibration, the angle between that rotation and the true one between the cameras is told as well (a
Qualisys file: rotations from the world to the camera, x right, y up, z back).
"""

from __future__ import annotations

import argparse
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from posecli.formats.coco import read_coco_dataset
from posecli.records import PoseSequence3D

Reals = NDArray[np.float64]

MIN_COMMON_FRAMES = 20
_UP_AND_BACK = np.diag([1.0, -1.0, -1.0])


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poses", nargs=2, type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--serials", default="cam01,cam02")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    first, second = (read_coco_dataset(path).poses_3d for path in arguments.poses)
    if not first or not second:
        sys.exit(f"{arguments.poses[0 if not first else 1]}: has no 3D poses; make them with posecli lift")
    true = None
    if arguments.calibration:
        one, other = (camera_to_world(arguments.calibration, serial) for serial in arguments.serials.split(","))
        true = other.T @ one
    people = [compare(a, b, true) for a, b in pairs(first, second)]
    if arguments.json:
        sys.stdout.write(json.dumps(people, indent=1) + "\n")
        return
    for person in people:
        ids, angle = person["track_ids"], person["rotation_error_deg"]
        line = f"tracks {ids[0]} and {ids[1]}: {person['frames']} frames, {person['mean_distance_mm']:.1f} mm apart"
        line += f" ({person['mean_distance_scaled_mm']:.1f} mm after scaling)"
        sys.stdout.write(
            line + ("" if angle is None else f", rotation {angle:.1f} degrees off the calibrated one") + "\n"
        )


def pairs(
    first: tuple[PoseSequence3D, ...], second: tuple[PoseSequence3D, ...]
) -> list[tuple[PoseSequence3D, PoseSequence3D]]:
    """Who is whom: the pairing of tracks with the least distances."""
    costs = np.full((len(first), len(second)), 1e6)
    for row, a in enumerate(first):
        for column, b in enumerate(second):
            points = common(a, b)
            if len(points[0]) >= MIN_COMMON_FRAMES:
                costs[row, column] = distance(*points, best_rotation(*points))
    rows, columns = linear_sum_assignment(costs)
    return [(first[i], second[j]) for i, j in zip(rows, columns, strict=True) if costs[i, j] < 1e6]


def compare(a: PoseSequence3D, b: PoseSequence3D, true: Reals | None) -> dict[str, Any]:
    """Figures of one person."""
    one, other = common(a, b)
    rotation = best_rotation(one, other)
    turned = one @ rotation.T
    scale = float((turned * other).sum() / (turned**2).sum())
    return {
        "track_ids": [a.track_id, b.track_id],
        "frames": len(one),
        "mean_distance_mm": distance(one, other, rotation),
        "mean_distance_scaled_mm": distance(scale * one, other, rotation),
        "rotation_error_deg": None if true is None else angle_deg(rotation @ true.T),
    }


def common(a: PoseSequence3D, b: PoseSequence3D) -> tuple[Reals, Reals]:
    """(T, 17, 3) twice: the frames that both have, whole poses only."""
    _, rows, columns = np.intersect1d(a.frame_indices, b.frame_indices, return_indices=True)
    one, other = (np.asarray(p, np.float64) for p in (a.joints_mm[rows], b.joints_mm[columns]))
    is_whole = np.isfinite(one).all(axis=(1, 2)) & np.isfinite(other).all(axis=(1, 2))
    return one[is_whole], other[is_whole]


def best_rotation(one: Reals, other: Reals) -> Reals:
    """(3, 3): the rotation that brings all of ``one`` nearest to ``other`` (Kabsch, no reflection)."""
    u, _, vt = np.linalg.svd(np.einsum("tji,tjk->ik", one, other))
    sign = np.sign(np.linalg.det(u @ vt))
    return np.asarray((u @ np.diag([1.0, 1.0, sign]) @ vt).T)


def distance(one: Reals, other: Reals, rotation: Reals) -> float:
    """Mean over frames and joints, mm."""
    return float(np.linalg.norm(one @ rotation.T - other, axis=-1).mean())


def angle_deg(rotation: Reals) -> float:
    """How far a rotation turns."""
    return float(np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def camera_to_world(path: Path, serial: str) -> Reals:
    """(3, 3) from the camera's frame as posecli has it, x right, y down, z forward."""
    for camera in ElementTree.parse(path).getroot().iter("camera"):
        if camera.get("serial") == serial:
            transform = camera.find("transform")
            assert transform is not None
            rows = [[float(transform.attrib[f"r{i}{j}"]) for j in (1, 2, 3)] for i in (1, 2, 3)]
            return np.array(rows).T @ _UP_AND_BACK
    sys.exit(f"{path}: has no camera {serial}")


if __name__ == "__main__":
    main()
