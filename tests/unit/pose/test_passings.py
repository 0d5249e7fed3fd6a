"""Legs that pass each other: found where they do, in side view and at a walk, whatever the frame rate."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.pose.passings import find_passings
from posecli.skeletons import COCO17, POSECLI19, Skeleton

PERIOD_S = 1.1


def walk(
    fps: float, *, seconds: float = 4.0, shoulders: float = 10.0, lean_deg: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(T, 19, 2) and (T,): feet together at 0, a half and a whole period; trunk of 60 px, shoulders seen so wide."""
    times = np.arange(round(fps * seconds)) / fps
    points = np.zeros((len(times), 19, 2))
    ahead = 40.0 * np.sin(2 * np.pi * times / PERIOD_S)
    for name, y, reach in (("shoulder", 0.0, 0.0), ("hip", 60.0, 0.0), ("knee", 95.0, 0.6), ("ankle", 130.0, 1.0)):
        for side, sign in (("left", 1.0), ("right", -1.0)):
            width = sign * shoulders / 2 if name == "shoulder" else 0.0
            points[:, POSECLI19.index(f"{side}_{name}")] = np.stack(
                [100 * times + sign * reach * ahead + width, np.full_like(times, y)], axis=1
            )
    angle = np.deg2rad(lean_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points @ turn.T).astype(np.float32), times


def rows(points: np.ndarray, times: np.ndarray, skeleton: Skeleton = POSECLI19) -> list[tuple[float, bool]]:
    return [(float(times[seen.row]), seen.is_passing) for seen in find_passings(points, times, skeleton)]


@pytest.mark.parametrize("fps", [15.0, 30.0, 59.94])
@pytest.mark.parametrize("lean_deg", [0.0, 90.0, -160.0])
def test_every_passing_of_a_walk_is_found_once(fps: float, lean_deg: float) -> None:
    found = rows(*walk(fps, lean_deg=lean_deg))
    expected = np.arange(1, 8) * PERIOD_S / 2
    assert np.abs(np.array([time for time, _ in found]) - expected).max() < 1.01 / fps
    assert all(is_passing for _, is_passing in found)


def test_legs_whose_labels_bounce_off_each_other_are_told() -> None:
    points, times = walk(30.0)
    legs = [[POSECLI19.index(f"{side}_{name}") for name in ("hip", "knee", "ankle")] for side in ("left", "right")]
    is_behind = np.sin(2 * np.pi * times / PERIOD_S) < 0
    for a, b in zip(*legs, strict=True):
        points[is_behind, a], points[is_behind, b] = points[is_behind, b].copy(), points[is_behind, a].copy()
    found = rows(points, times)
    assert len(found) == 7 and not any(is_passing for _, is_passing in found)


def test_seen_from_the_front_or_slowly_there_is_none() -> None:
    points, times = walk(30.0, shoulders=40.0)
    assert rows(points, times) == []
    points, times = walk(30.0)
    assert rows(points, times * 2) == []


def test_missing_points_and_other_skeletons_are_no_legs() -> None:
    points, times = walk(30.0)
    assert rows(points[:, :17], times, COCO17) == rows(points, times)
    faces = Skeleton("face", ("nose", "left_eye", "right_eye"), (), (0.1, 0.1, 0.1))
    assert rows(points[:, :3], times, faces) == []
    points[10:25, POSECLI19.index("left_ankle")] = np.nan
    assert [time for time, _ in rows(points, times)] == pytest.approx([1.1, 1.65, 2.2, 2.75, 3.3, 3.85], abs=0.034)
    assert rows(np.full_like(points, np.nan), times) == []
    assert rows(points[:1], times[:1]) == []
