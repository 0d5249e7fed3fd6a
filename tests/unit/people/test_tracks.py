"""Mending finished tracks: what is joined, filled, cut, dropped, numbered and reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from posecli.errors import ConfigError
from posecli.people.pieces import join_rows, select_rows
from posecli.people.sightings import ColourTable
from posecli.people.tracks import StitchConfig, SuspectSwitch, stitch_tracks
from posecli.records import PoseSequence

FPS = 30.0
TIMES = np.arange(600) / FPS
# Nineteen points of a body 200 px high, around its middle; any fixed shape will do.
_BODY = np.stack([25.0 * np.sin(np.arange(19.0) * 2.4), np.linspace(-95.0, 95.0, 19)], axis=1)


def person(
    track_id: int,
    frames: range | list[int],
    *,
    start_px: float = 100.0,
    speed: float = 120.0,
    y: float = 300.0,
    score: float = 0.8,
    interpolated: list[int] | None = None,
) -> PoseSequence:
    """Somebody who walks along x; at time 0 at ``start_px``, ``speed`` in px/s."""
    indices = np.array(frames, np.int64)
    centre = np.stack([start_px + speed * indices / FPS, np.full(len(indices), y)], axis=1)
    keypoints = (centre[:, None] + _BODY).astype(np.float32)
    half = np.array([40.0, 100.0])
    return PoseSequence(
        track_id=track_id,
        skeleton="posecli19",
        frame_indices=indices,
        keypoints=keypoints,
        raw_keypoints=keypoints.copy(),
        scores=np.full((len(indices), 19), score, np.float32),
        boxes=np.concatenate([centre - half, centre + half], axis=1).astype(np.float32),
        box_scores=np.full(len(indices), 0.9, np.float32),
        interpolated=np.isin(indices, interpolated or []),
    )


def with_scores(sequence: PoseSequence, frames: range, score: float) -> PoseSequence:
    scores = sequence.scores.copy()
    scores[np.isin(sequence.frame_indices, np.array(frames))] = score
    return replace(sequence, scores=scores)


def test_a_track_that_goes_on_after_a_gap_is_one_and_short_gaps_are_filled() -> None:
    result = stitch_tracks([person(3, range(50)), person(8, range(60, 120))], TIMES)
    (whole,) = result.poses
    np.testing.assert_array_equal(whole.frame_indices, np.arange(120))
    np.testing.assert_array_equal(whole.interpolated, (np.arange(120) >= 50) & (np.arange(120) < 60))
    np.testing.assert_allclose(whole.keypoints, person(0, range(120)).keypoints, atol=1e-2)
    np.testing.assert_allclose(whole.boxes, person(0, range(120)).boxes, atol=1e-2)
    assert np.isnan(whole.raw_keypoints[50:60]).all()
    assert result.new_ids == {3: 0, 8: 0}
    assert result.suspects == ()


def test_a_longer_gap_is_joined_but_not_filled() -> None:
    (whole,) = stitch_tracks([person(0, range(50)), person(1, range(80, 120))], TIMES).poses
    assert len(whole) == 90
    assert not whole.interpolated.any()


def test_a_gap_beyond_the_limit_separates() -> None:
    poses = [person(0, range(50)), person(1, range(100, 150))]
    assert len(stitch_tracks(poses, TIMES).poses) == 2
    assert len(stitch_tracks(poses, TIMES, StitchConfig(max_stitch_gap_s=2.0)).poses) == 1


@pytest.mark.parametrize(("start_px", "y"), [(400.0, 300.0), (100.0, 420.0)])
def test_somebody_elsewhere_is_somebody_else(start_px: float, y: float) -> None:
    result = stitch_tracks([person(0, range(50)), person(1, range(60, 120), start_px=start_px, y=y)], TIMES)
    assert [len(sequence) for sequence in result.poses] == [50, 60]


def test_two_who_cross_in_a_gap_are_joined_by_their_motion() -> None:
    """Ends and beginnings lie crosswise: nearest would swap them."""
    poses = [
        person(0, range(40), start_px=100.0, speed=150.0),
        person(1, range(40), start_px=460.0, speed=-150.0),
        person(2, range(60, 100), start_px=100.0, speed=150.0),
        person(3, range(60, 100), start_px=460.0, speed=-150.0),
    ]
    assert stitch_tracks(poses, TIMES).new_ids == {0: 0, 2: 0, 1: 1, 3: 1}


def test_a_choice_between_two_is_reported() -> None:
    poses = [
        person(0, range(40), speed=0.0),
        person(1, range(50, 90), speed=0.0),
        person(2, range(50, 90), start_px=108.0, speed=0.0),
    ]
    # The two later ones are told apart only by 8 px; do not take them for one.
    result = stitch_tracks(poses, TIMES, StitchConfig(duplicate_oks=1.0, suspect_oks=1.0))
    assert result.new_ids[1] == 0
    assert SuspectSwitch(50, (0,), "stitched") in result.suspects


def test_ids_count_from_zero_in_order_of_appearance() -> None:
    poses = [person(4, range(200, 240)), person(7, range(40)), person(9, range(90, 140), start_px=900.0)]
    result = stitch_tracks(poses, TIMES)
    assert result.new_ids == {4: 2, 7: 0, 9: 1}
    assert [sequence.track_id for sequence in result.poses] == [0, 1, 2]


def test_short_and_unsure_tracks_are_dropped() -> None:
    poses = [
        person(0, range(50)),
        person(1, range(3), start_px=600.0),
        person(2, range(50), start_px=900.0, score=0.1),
    ]
    assert stitch_tracks(poses, TIMES).new_ids == {0: 0}


def test_a_video_shorter_than_the_shortest_track_keeps_its_people() -> None:
    assert len(stitch_tracks([person(0, [0])], TIMES[:1]).poses) == 1


def test_only_confirmed_tracks_stay() -> None:
    result = stitch_tracks([person(0, range(50)), person(1, range(50), start_px=500.0)], TIMES, confirmed_ids=(1,))
    assert result.new_ids == {1: 0}


def test_merged_ids_become_one_track_and_the_older_rows_count() -> None:
    young = person(5, range(30, 80), y=304.0)
    (whole,) = stitch_tracks([young, person(2, range(50))], TIMES, merged={5: 2}, confirmed_ids=(2,)).poses
    np.testing.assert_array_equal(whole.frame_indices, np.arange(80))
    np.testing.assert_array_equal(whole.keypoints[:50], person(2, range(50)).keypoints)
    np.testing.assert_array_equal(whole.keypoints[50:], young.keypoints[20:])


def test_tracks_on_one_body_are_one() -> None:
    """The first one's end was still carried on when the second had begun."""
    result = stitch_tracks([person(0, range(60)), person(1, range(50, 120), y=302.0)], TIMES)
    (whole,) = result.poses
    np.testing.assert_array_equal(whole.frame_indices, np.arange(120))


def test_two_who_cross_stay_two_and_are_reported_once() -> None:
    poses = [person(0, range(120), speed=100.0), person(1, range(120), start_px=480.0, speed=-100.0)]
    result = stitch_tracks(poses, TIMES)
    assert [len(sequence) for sequence in result.poses] == [120, 120]
    (suspect,) = result.suspects
    assert (suspect.track_ids, suspect.reason) == ((0, 1), "overlap")
    assert abs(suspect.frame_index - 57) <= 1


def test_tracks_that_changed_people_where_they_met_are_put_right_and_reported() -> None:
    """They cross at frame 57 and lie on each other to frame 65; the tracker has let each turn back with the other's size."""
    there = person(0, range(120), speed=100.0)
    back = person(1, range(120), start_px=480.0, speed=-100.0)
    small = replace(back, boxes=back.boxes + np.array([12, 60, -12, 0], np.float32))

    def mixed(one: PoseSequence, other: PoseSequence) -> PoseSequence:
        return join_rows([select_rows(one, np.arange(57)), select_rows(other, np.arange(57, 120))])

    result = stitch_tracks([mixed(there, small), mixed(small, there)], TIMES, looked_at=np.arange(2, 120, 5))
    whole = {sequence.track_id: sequence for sequence in result.poses}
    exchanged = [suspect for suspect in result.suspects if suspect.reason == "exchanged"]
    assert [suspect.track_ids for suspect in exchanged] == [(0,), (1,)]
    frame = exchanged[0].frame_index
    assert 40 < frame < 75
    for track, truth in ((whole[0], there), (whole[1], small)):
        is_sure = np.abs(np.arange(120) - 57) > abs(frame - 57)
        np.testing.assert_array_equal(track.boxes[is_sure], truth.boxes[is_sure])
        np.testing.assert_array_equal(track.frame_indices, np.arange(120))
    assert result.new_ids == {0: 0, 1: 1}


def test_colours_put_tracks_right_that_motion_cannot() -> None:
    """Two of one size stand side by side after they met: only what they wear says who is who."""
    frames = np.arange(120)

    def steps(track_id: int, before_px: float, after_px: float) -> PoseSequence:
        sequence = person(track_id, range(120), start_px=0.0, speed=0.0)
        offset = np.where(frames < 50, before_px, np.where(frames < 70, 300.0, after_px)).astype(np.float32)
        return replace(
            sequence,
            boxes=sequence.boxes + offset[:, None] * np.array([1, 0, 1, 0], np.float32),
            keypoints=sequence.keypoints + offset[:, None, None] * np.array([1, 0], np.float32),
        )

    looked_at = np.arange(2, 120, 5)
    light, dark = np.array([90, 0, 0, 90, 0, 0], np.float32), np.array([20, 30, 0, 20, 0, 30], np.float32)
    colours = {
        0: ColourTable(looked_at, np.where((looked_at < 60)[:, None], light, dark)),
        1: ColourTable(looked_at, np.where((looked_at < 60)[:, None], dark, light)),
    }
    poses = [steps(0, 240.0, 250.0), steps(1, 360.0, 350.0)]
    config = StitchConfig(duplicate_oks=1.0)
    plain = stitch_tracks(poses, TIMES, config, looked_at=looked_at)
    assert not [suspect for suspect in plain.suspects if suspect.reason == "exchanged"]
    result = stitch_tracks(poses, TIMES, config, looked_at=looked_at, colours=colours)
    assert result.poses[0].boxes[0, 0] == poses[0].boxes[0, 0]
    assert result.poses[0].boxes[-1, 0] == poses[1].boxes[-1, 0]
    assert SuspectSwitch(62, (0,), "exchanged") in result.suspects


def worn(frames: NDArray[np.int64], *colours: tuple[float, float, float], until: tuple[int, ...] = ()) -> ColourTable:
    """Trunk and thighs of one colour, and of the next one from a frame on."""
    which = np.searchsorted(np.array(until, np.int64), frames, side="right")
    return ColourTable(frames, np.tile(np.array(colours, np.float32)[which], (1, 2)))


def test_a_track_that_came_back_on_somebody_else_is_cut_and_goes_on_where_the_clothes_do() -> None:
    """A walks on unseen behind others; meanwhile A's id came back on B, whose own track had ended, and A is found as a new one."""
    a, b, light, dark = person(0, range(120)), person(1, range(120), y=420.0), (90.0, 0.0, 0.0), (20.0, 40.0, 0.0)
    mixed = join_rows([select_rows(a, np.arange(50)), select_rows(b, np.arange(66, 120))])
    poses = [mixed, select_rows(b, np.arange(40)), select_rows(a, np.arange(68, 120))]
    poses = [replace(sequence, track_id=n) for n, sequence in enumerate(poses)]
    looked_at = np.arange(2, 120, 5)
    plain = stitch_tracks(poses, TIMES, looked_at=looked_at)
    np.testing.assert_array_equal(plain.poses[0].boxes[-1], b.boxes[-1])
    colours = {0: worn(looked_at, light, dark, until=(60,)), 1: worn(looked_at, dark), 2: worn(looked_at, light)}
    result = stitch_tracks(poses, TIMES, looked_at=looked_at, colours=colours)
    assert len(result.poses) == 2
    for track, truth in zip(result.poses, (a, b), strict=True):
        np.testing.assert_allclose(track.boxes[-1], truth.boxes[-1])
        np.testing.assert_allclose(track.boxes[0], truth.boxes[0])
    assert result.new_ids == {0: 0, 1: 1, 2: 0}


def test_clothes_decide_between_two_that_could_go_on() -> None:
    """Both begin where the first one would be; the one that is 20 px further off wears the same."""
    poses = [person(0, range(40)), person(1, range(50, 90)), person(2, range(50, 90), start_px=100.0, y=330.0)]
    light, dark, looked_at = (90.0, 0.0, 0.0), (20.0, 40.0, 0.0), np.arange(2, 120, 5)
    colours = {0: worn(looked_at, light), 1: worn(looked_at, dark), 2: worn(looked_at, light)}
    config = StitchConfig(duplicate_oks=1.0)
    assert stitch_tracks(poses, TIMES, config, looked_at=looked_at).new_ids == {0: 0, 1: 0, 2: 1}
    assert stitch_tracks(poses, TIMES, config, looked_at=looked_at, colours=colours).new_ids == {0: 0, 1: 1, 2: 0}


def test_a_track_cut_in_vain_is_one_again() -> None:
    """Somebody passes, and the light changes: nobody else is there to be."""
    looked_at = np.arange(2, 120, 5)
    colours = {0: worn(looked_at, (90.0, 0.0, 0.0), (20.0, 40.0, 0.0), until=(60,))}
    poses = [select_rows(person(0, range(120)), np.r_[0:55, 68:120])]
    (whole,) = stitch_tracks(poses, TIMES, looked_at=looked_at, colours=colours).poses
    np.testing.assert_array_equal(whole.frame_indices, np.arange(120))


def test_what_poses_held_at_the_end_does_not_hinder_a_track_from_going_on() -> None:
    """Lost at 40, the track was held on somebody else who stands there, until the person was found again further on."""
    held = person(0, range(60), interpolated=list(range(40, 60)))
    is_free = np.arange(60) < 40
    stuck = replace(
        held,
        boxes=np.where(is_free[:, None], held.boxes, held.boxes[40]),
        keypoints=np.where(is_free[:, None, None], held.keypoints, held.keypoints[40]),
    )
    found = person(1, range(55, 120))
    config = StitchConfig(duplicate_oks=1.0)
    (whole,) = stitch_tracks([stuck, found], TIMES, config).poses
    np.testing.assert_array_equal(whole.frame_indices, np.arange(120))
    np.testing.assert_allclose(whole.boxes[55:], found.boxes)


def test_rows_that_nothing_backs_are_cut_from_the_ends_and_bridged_inside() -> None:
    lost = [*range(5), *range(20, 30), *range(45, 50)]
    sequence = person(0, range(50), interpolated=lost)
    for frames in (range(5), range(20, 30), range(45, 50)):
        sequence = with_scores(sequence, frames, 0.1)
    broken = sequence.keypoints.copy()
    broken[20:30] = 0.0
    (mended,) = stitch_tracks([replace(sequence, keypoints=broken)], TIMES).poses
    np.testing.assert_array_equal(mended.frame_indices, np.arange(5, 45))
    np.testing.assert_allclose(mended.keypoints, person(0, range(5, 45)).keypoints, atol=1e-2)
    assert mended.interpolated[15:25].all()


def test_a_fair_pose_backs_a_row_without_detection() -> None:
    (same,) = stitch_tracks([person(0, range(50), interpolated=list(range(30, 50)))], TIMES).poses
    assert len(same) == 50


def test_a_leap_is_reported() -> None:
    sequence = person(0, range(60))
    keypoints = sequence.keypoints.copy()
    keypoints[33:] += np.float32(150.0)
    result = stitch_tracks([replace(sequence, keypoints=keypoints)], TIMES)
    assert result.suspects == (SuspectSwitch(33, (0,), "jump"),)


def test_missing_keypoints_stay_missing_in_filled_rows() -> None:
    sequence = select_rows(person(0, range(30)), np.array([n for n in range(30) if not 10 <= n < 15]))
    keypoints, scores = sequence.keypoints.copy(), sequence.scores.copy()
    keypoints[:10, 4], scores[:10, 4] = np.nan, 0.0
    (filled,) = stitch_tracks([replace(sequence, keypoints=keypoints, scores=scores)], TIMES).poses
    assert np.isnan(filled.keypoints[10:15, 4]).all()
    assert (filled.scores[10:15, 4] == 0.0).all()
    assert np.isfinite(filled.keypoints[10:15, 5]).all()


def test_gaps_are_filled_by_time_not_by_frame() -> None:
    times = TIMES.copy()
    times[21:] += 0.2
    sequence = select_rows(person(0, range(30)), np.array([n for n in range(30) if not 20 <= n < 22]))
    (filled,) = stitch_tracks([sequence], times).poses
    x = filled.keypoints[:, 0, 0]
    share = (times[20] - times[19]) / (times[22] - times[19])
    assert x[20] == pytest.approx(x[19] + share * (x[22] - x[19]), abs=1e-3)


def test_the_table_of_times_may_start_later() -> None:
    poses = [person(0, range(300, 350)), person(1, range(360, 400))]
    (whole,) = stitch_tracks(poses, TIMES[290:420], first_frame_index=290).poses
    np.testing.assert_array_equal(whole.frame_indices, np.arange(300, 400))


def test_no_tracks_are_no_tracks() -> None:
    result = stitch_tracks([], TIMES)
    assert (result.poses, result.suspects, result.new_ids) == ((), (), {})


@pytest.mark.parametrize(("name", "value"), [("min_fit", 1.5), ("max_fill_gap_s", -1.0)])
def test_a_config_checks_itself(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        StitchConfig(**{name: value})  # type: ignore[arg-type]


def test_join_rows_prefers_the_first() -> None:
    joined = join_rows([person(1, [4, 5]), person(2, [3, 4], y=0.0)])
    assert joined.track_id == 1
    np.testing.assert_array_equal(joined.frame_indices, [3, 4, 5])
    assert joined.boxes[0, 1] == -100.0
    assert joined.boxes[1, 1] == 200.0


@given(seed=st.integers(0, 10_000))
def test_whatever_comes_in_tracks_come_out_in_order_and_no_frame_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    poses = []
    for track_id in range(int(rng.integers(0, 8))):
        frames: NDArray[np.int64] = np.flatnonzero(rng.random(200) < rng.uniform(0.05, 1.0))[int(rng.integers(0, 60)) :]
        sequence = person(track_id, list(map(int, frames)), start_px=rng.uniform(0, 500), speed=rng.uniform(-200, 200))
        sequence = replace(
            sequence,
            scores=rng.random(sequence.scores.shape).astype(np.float32),
            interpolated=rng.random(len(frames)) < 0.5,
            keypoints=np.where(rng.random(sequence.scores.shape)[..., None] < 0.1, np.nan, sequence.keypoints).astype(
                np.float32
            ),
        )
        poses.append(sequence)
    result = stitch_tracks(poses, TIMES)
    assert [sequence.track_id for sequence in result.poses] == list(range(len(result.poses)))
    starts = [int(sequence.frame_indices[0]) for sequence in result.poses]
    assert starts == sorted(starts)
    for sequence in result.poses:
        assert (np.diff(sequence.frame_indices) > 0).all()
        assert sequence.keypoints.shape == (len(sequence), 19, 2)
        assert sequence.boxes.dtype == sequence.keypoints.dtype == sequence.scores.dtype == np.float32
    assert set(result.new_ids.values()) == set(range(len(result.poses)))
