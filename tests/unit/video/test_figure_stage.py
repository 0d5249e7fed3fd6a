"""Who stands where: on one ground, beside each other, in the middle of the stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posecli.errors import ConfigError
from posecli.skeletons import H36M17
from posecli.video.stage import Stage, gap_for, gather

LEFT_ANKLE = H36M17.joint_names.index("left_ankle")


def _path(num_frames: int, start=(0.0, 900.0, 4000.0), step=(0.0, 0.0, 0.0)) -> np.ndarray:
    return np.array(start) + np.arange(num_frames)[:, None] * np.array(step)


def _lowest(stage: Stage, frame_index: int, row: int = 0) -> float:
    """mm above the ground."""
    return -float(stage.figures_at(frame_index)[row].joints_mm[:, 1].max())


def test_people_stand_apart_as_their_roots_say(person_3d, annotation_3d) -> None:
    near = person_3d(30, path_mm=_path(30))
    far = person_3d(30, path_mm=_path(30, start=(900.0, 700.0, 4600.0)), track_id=2)
    first, second = Stage(annotation_3d(near, far)).figures_at(15)
    assert (first.track_id, second.track_id) == (1, 2)
    assert second.joints_mm[0] - first.joints_mm[0] == pytest.approx([900.0, 0.0, 600.0], abs=1.0)
    assert first.joints_mm[0, [0, 2]] + second.joints_mm[0, [0, 2]] == pytest.approx([0, 0], abs=1.0)


def test_people_of_unknown_place_stand_a_metre_apart(person_3d, annotation_3d) -> None:
    known = person_3d(40, path_mm=_path(40, start=(9000.0, 0.0, 9000.0)))
    others = [person_3d(15, track_id=2), person_3d(15, track_id=3, first_frame=20)]
    stage = Stage(annotation_3d(known, *others))
    for frame_index in (7, 30):
        first, second = stage.figures_at(frame_index)
        # Track 3 takes the place that track 2 left.
        assert second.joints_mm[0] - first.joints_mm[0] == pytest.approx([1000.0, 0.0, 0.0], abs=1.0)
    assert [len(stage.figures_at(k)) for k in (0, 14, 15, 19, 20, 34, 35)] == [2, 2, 1, 1, 2, 2, 1]


def test_a_gap_in_the_places_is_bridged(person_3d, annotation_3d) -> None:
    path = _path(40, step=(30.0, 0.0, 0.0))
    path[18:22] = np.nan
    stage = Stage(annotation_3d(person_3d(40, path_mm=path), person_3d(40, path_mm=_path(40), track_id=2)))
    distances = [float(np.subtract(*[f.joints_mm[0, 0] for f in stage.figures_at(k)])) for k in range(10, 30)]
    assert distances == pytest.approx([30.0 * k for k in range(10, 30)], abs=5.0)


def test_feet_are_on_the_ground_however_the_camera_was_tilted(person_3d, annotation_3d) -> None:
    """Walking away from a camera that looks down by 11 degrees seems to climb by 0.27 m a second."""
    path = _path(100, step=(0.0, -11.0, 55.0))
    stage = Stage(annotation_3d(person_3d(100, path_mm=path)))
    assert [_lowest(stage, k) for k in range(100)] == pytest.approx([28.0] * 100, abs=25.0)


def test_a_jump_leaves_the_ground(person_3d, annotation_3d) -> None:
    path = _path(100)
    path[50:62, 1] -= 400 * np.sin(np.linspace(0, np.pi, 12))
    stage = Stage(annotation_3d(person_3d(100, path_mm=path)))
    assert [_lowest(stage, k) for k in (0, 20, 40, 70, 80, 99)] == pytest.approx([28.0] * 6, abs=30.0)
    assert 200 < _lowest(stage, 56) < 450


def test_somebody_sitting_down_at_an_unknown_place_keeps_the_feet_on_the_ground(person_3d, annotation_3d) -> None:
    person = person_3d(60)
    joints = person.joints_mm.copy()
    legs = [k for k, name in enumerate(H36M17.joint_names) if "knee" in name or "ankle" in name]
    joints[30:, legs, 1] -= 380
    stage = Stage(annotation_3d(replace(person, joints_mm=joints)))
    assert [_lowest(stage, k) for k in range(60)] == pytest.approx([28.0] * 60, abs=0.1)


def test_the_stage_follows_a_long_walk(person_3d, annotation_3d) -> None:
    path = _path(250, step=(60.0, 0.0, 0.0))
    stage = Stage(annotation_3d(person_3d(250, path_mm=path)))
    assert stage.rings_mm[:, 0].max() < 1500
    assert stage.centre_at(200)[0] - stage.centre_at(100)[0] == pytest.approx(6000.0, abs=5.0)
    offsets = [stage.figures_at(k)[0].joints_mm[0, [0, 2]] for k in range(50, 200)]
    assert np.abs(offsets).max() < 5.0


def test_whoever_is_very_far_off_is_brought_near(person_3d, annotation_3d) -> None:
    far = person_3d(20, path_mm=_path(20, start=(0.0, 900.0, 90_000.0)), track_id=2)
    stage = Stage(annotation_3d(person_3d(20, path_mm=_path(20)), far))
    assert [f.joints_mm[0, 2] for f in stage.figures_at(10)] == pytest.approx([-600.0, 600.0], abs=1.0)


def test_a_group_is_gathered_in_order_with_its_directions() -> None:
    places = np.array([[0.0, 0.0], [300.0, 400.0], [-8000.0, 0.0], [300.0, 6400.0]])
    gathered = gather(places, 1200.0)
    assert gathered == pytest.approx(np.array([[0, 0], [300, 400], [-1200, 0], [300, 1600]]))


def test_near_people_stay_where_they_are() -> None:
    places = np.array([[0.0, 0.0], [900.0, 500.0], [-700.0, 200.0]])
    assert np.array_equal(gather(places, 1200.0), places)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_of_three_is_left_alone_or_pushed_into_another(seed: int) -> None:
    places = np.random.default_rng(seed).normal(0, (4000.0, 1500.0), (3, 2))
    gathered = gather(places, 1200.0)
    before, after = (np.linalg.norm(p[:, None] - p[None], axis=-1) + 1e9 * np.eye(3) for p in (places, gathered))
    assert (after.min(axis=1) <= 1200.001).all()
    assert (after >= np.minimum(before, 1200.0) - 0.001).all()
    assert (after <= before + 0.001).all()


def test_the_ends_of_a_long_row_stand_at_the_edge(person_3d, annotation_3d) -> None:
    row = [person_3d(9, path_mm=_path(9, start=(3000.0 * k, 900.0, 4000.0)), track_id=k) for k in range(14)]
    at = [figure.joints_mm[0, 0] for figure in Stage(annotation_3d(*row)).figures_at(4)]
    assert at[1:13] == pytest.approx([max(-6000.0, min(1200.0 * (k - 6.5), 6000.0)) for k in range(1, 13)], abs=1.0)
    assert (at[0], at[13]) == pytest.approx((-6000.0, 6000.0))


def test_nobody_jumps_when_others_come_and_leave(person_3d, annotation_3d) -> None:
    """Seen against the ground: one stays, one comes 8 m away, one later between them, and the first leaves."""
    people = [
        person_3d(300, path_mm=_path(300)),
        person_3d(350, path_mm=_path(350, start=(8000.0, 900.0, 4000.0)), track_id=2, first_frame=50),
        person_3d(100, path_mm=_path(100, start=(4000.0, 900.0, 4500.0)), track_id=3, first_frame=150),
    ]
    stage = Stage(annotation_3d(*people))
    seen: dict[int, list[np.ndarray]] = {}
    for k in range(400):
        for figure in stage.figures_at(k):
            seen.setdefault(figure.track_id, []).append(figure.joints_mm[0, [0, 2]])
    steps = {track: np.linalg.norm(np.diff(places, axis=0), axis=1).max() for track, places in seen.items()}
    assert max(steps.values()) < 50.0  # mm a frame; a step would be 600 or 1200
    distances = [abs(float(np.subtract(*[f.joints_mm[0, 0] for f in stage.figures_at(k)][:2]))) for k in (50, 200, 299)]
    assert distances == pytest.approx([1200.0, 2 * 1200.0 * np.cos(np.arctan2(500, 4000)), 1200.0], abs=10.0)
    # Whoever stays does not slide over the ground when somebody comes.
    first = np.array(seen[1])[:100] + [stage.centre_at(k) for k in range(100)]
    assert np.ptp(first, axis=0).max() < 5.0


def test_panels_have_people_as_near_together_as_their_shape_needs() -> None:
    assert [gap_for(size) for size in ((960, 540), (540, 540), (480, 960))] == [1200.0, 1200.0, 750.0]
    assert gap_for((900, 1200)) == pytest.approx(1080.0)


def test_missing_joints_stay_missing_and_do_not_count(person_3d, annotation_3d) -> None:
    person = person_3d(30, path_mm=_path(30))
    joints = person.joints_mm.copy()
    joints[10:20, LEFT_ANKLE] = np.nan
    joints[25] = np.nan
    stage = Stage(annotation_3d(replace(person, joints_mm=joints)))
    assert np.isnan(stage.figures_at(15)[0].joints_mm).any(axis=1).tolist() == [k == LEFT_ANKLE for k in range(17)]
    assert np.isnan(stage.figures_at(25)[0].joints_mm).all()
    assert np.isfinite(stage.rings_mm).all()
    assert _lowest(stage, 5) == pytest.approx(28.0, abs=1.0)


def test_an_annotation_that_begins_later_and_has_empty_frames(person_3d, annotation_3d) -> None:
    person = person_3d(10, path_mm=_path(10), first_frame=105)
    annotation = annotation_3d(person, num_frames=30)
    stage = Stage(replace(annotation, first_frame_index=100))
    assert [len(stage.figures_at(k)) for k in (100, 104, 105, 114, 115, 129)] == [0, 0, 1, 1, 0, 0]
    assert stage.centre_at(129) == pytest.approx((0.0, 4000.0))


def test_one_frame_is_enough(person_3d, annotation_3d) -> None:
    for path in (_path(1), None):
        stage = Stage(annotation_3d(person_3d(1, path_mm=path)))
        assert _lowest(stage, 0) == pytest.approx(28.0)


def test_without_3d_poses_the_remedy_is_named(person_3d, annotation_3d) -> None:
    annotation = annotation_3d(person_3d(5))
    with pytest.raises(ConfigError, match="no 3D poses to draw .posecli lift"):
        Stage(replace(annotation, poses_3d=()))
    with pytest.raises(ConfigError, match="skeleton 'smpl24' cannot be drawn"):
        Stage(replace(annotation, poses_3d=(replace(annotation.poses_3d[0], skeleton="smpl24"),)))
