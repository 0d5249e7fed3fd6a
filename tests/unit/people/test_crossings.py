"""Who came out of a meeting as whom: walkers on known paths, the tracks of two of them exchanged where they met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posecli.people.crossings import find_exchanges
from posecli.people.sightings import Sightings, with_clearness

FPS = 30.0
LOOKS = np.arange(2, 152, 5)
RED, GREEN = (45.0, 60.0, 40.0, 30.0, 0.0, 0.0), (50.0, -50.0, 40.0, 60.0, 0.0, -30.0)
UNKNOWN = (np.nan,) * 6


@dataclass
class Walker:
    """``path``: the middle of the box in px at a time in s."""

    path: Callable[[float], tuple[float, float]]
    height_px: float = 200.0
    colours: tuple[float, ...] = UNKNOWN

    def seen(self, *, jitter: float = 0.0, rng: np.random.Generator | None = None) -> Sightings:
        """At all looks, every box backed."""
        times = LOOKS / FPS
        centres, half = np.array([self.path(t) for t in times]), np.array([0.2, 0.5]) * self.height_px
        boxes = np.concatenate([centres - half, centres + half], axis=1)
        if rng is not None:
            boxes = boxes + jitter * self.height_px * rng.standard_normal(boxes.shape)
        colours = np.tile(np.array(self.colours), (len(LOOKS), 1))
        every = np.ones(len(LOOKS), np.bool_)
        return Sightings(LOOKS, times, boxes, every, every, colours)


def walk(x: float, speed: float, y: float = 300.0) -> Callable[[float], tuple[float, float]]:
    return lambda time_s: (x + speed * time_s, y)


def turn_back(x: float, speed: float, at_s: float = 2.5) -> Callable[[float], tuple[float, float]]:
    return lambda time_s: (x + speed * (at_s - abs(at_s - time_s)), 300.0)


def cross(a: Sightings, b: Sightings, frame: int) -> tuple[Sightings, Sightings]:
    """Each goes on as the other from a frame on."""
    late = a.frames >= frame

    def mixed(one: Sightings, other: Sightings) -> Sightings:
        return replace(
            one,
            boxes=np.where(late[:, None], other.boxes, one.boxes),
            is_backed=np.where(late, other.is_backed, one.is_backed),
            colours=np.where(late[:, None], other.colours, one.colours),
        )

    return mixed(a, b), mixed(b, a)


def unbacked(track: Sightings, start: int, stop: int) -> Sightings:
    return replace(track, is_backed=track.is_backed & ~((track.frames >= start) & (track.frames < stop)))


# They meet in the middle of the picture after 2.5 s, frame 75.
NEAR, FAR = Walker(walk(100, 160), height_px=260.0), Walker(walk(900, -160), height_px=190.0)


def test_who_walks_on_in_another_size_has_changed_tracks() -> None:
    tracks = cross(NEAR.seen(), unbacked(FAR.seen(), 65, 85), 75)
    (found,) = find_exchanges(tracks, min_gain=4.0)
    assert (found.first, found.second) == (0, 1)
    assert 62 <= found.frame_index <= 87
    assert found.gain > 4.0


def test_who_kept_the_track_is_left_alone() -> None:
    assert find_exchanges([NEAR.seen(), unbacked(FAR.seen(), 65, 85)], min_gain=4.0) == []


def test_colours_decide_where_motion_would_mislead() -> None:
    """Of one size, they meet and turn back; the tracker has let them walk through each other."""
    a, b = Walker(turn_back(100, 150), colours=RED), Walker(turn_back(850, -150), colours=GREEN)
    (found,) = find_exchanges(cross(a.seen(), b.seen(), 75), min_gain=4.0)
    assert 62 <= found.frame_index <= 87
    assert find_exchanges([a.seen(), b.seen()], min_gain=4.0) == []


def test_colours_seen_during_the_meeting_say_where_the_exchange_was() -> None:
    a, b = Walker(walk(200, 30), colours=RED).seen(), Walker(walk(350, -30), colours=GREEN).seen()
    for frame in (67, 72, 77, 82):
        (found,) = find_exchanges(cross(a, b, frame), min_gain=4.0)
        assert found.frame_index == frame


def test_colours_learnt_while_one_covers_the_other_do_not_count() -> None:
    """Before they part at 3 s they overlap by more than a fifth, and both boxes show the one in front."""
    a, b = Walker(walk(300, 4), colours=RED), Walker(walk(330, 90), colours=GREEN)
    mine, theirs = a.seen(), b.seen()
    is_near = theirs.boxes[:, 0] < mine.boxes[:, 2] - 0.2 * 80.0
    clear = [replace(track, colours=np.where(is_near[:, None], np.nan, track.colours)) for track in (mine, theirs)]
    stained = [replace(track, colours=np.where(is_near[:, None], RED, track.colours)) for track in (mine, theirs)]
    assert is_near.any()
    assert find_exchanges(stained, min_gain=-1e9) == find_exchanges(clear, min_gain=-1e9)


def test_a_part_that_one_of_the_four_never_showed_is_no_evidence() -> None:
    a, b = replace(NEAR, height_px=200.0, colours=RED).seen(), replace(FAR, height_px=200.0, colours=GREEN).seen()
    blind = replace(b, colours=np.where((b.frames > 80)[:, None], np.nan, b.colours))
    gains = [find_exchanges(cross(a, other, 75), min_gain=-1e9)[0].gain for other in (b, blind)]
    plain = [replace(track, colours=np.full_like(track.colours, np.nan)) for track in (a, b)]
    without = find_exchanges(cross(plain[0], plain[1], 75), min_gain=-1e9)[0].gain
    assert gains[0] > without + 20.0
    assert gains[1] == pytest.approx(without)


def test_colours_of_a_single_look_say_less_than_those_of_many() -> None:
    a, b = replace(NEAR, height_px=200.0, colours=RED).seen(), replace(FAR, height_px=200.0, colours=GREEN).seen()
    rare = replace(b, colours=np.where((b.frames > 90)[:, None], np.nan, b.colours))
    gains = [find_exchanges(cross(a, other, 75), min_gain=-1e9)[0].gain for other in (b, rare)]
    assert 4.0 < gains[1] < gains[0] - 4.0


def test_colours_beside_a_third_person_say_less() -> None:
    a, b = replace(NEAR, height_px=200.0, colours=RED).seen(), replace(FAR, height_px=200.0, colours=GREEN).seen()
    crowd = [Walker(walk(x, 0.0), height_px=260.0).seen() for x in range(0, 1000, 60)]
    alone = find_exchanges(cross(a, b, 75), min_gain=4.0)[0].gain
    (crowded,) = [
        exchange.gain
        for exchange in find_exchanges(with_clearness([*cross(a, b, 75), *crowd]), min_gain=-1e9)
        if (exchange.first, exchange.second) == (0, 1)
    ]
    assert crowded < alone - 4.0


def test_a_third_person_met_later_gets_the_right_track_back() -> None:
    """A and B change tracks at 75; B, on A's track, then meets C and changes tracks again: the past follows the person."""
    a = Walker(walk(100, 160), colours=RED)
    b = Walker(walk(900, -160), height_px=205.0, colours=GREEN)
    c = Walker(walk(225, 0), height_px=195.0, colours=(80.0, 0.0, 0.0, 20.0, 0.0, 0.0))
    on_a, on_b = cross(a.seen(), b.seen(), 75)
    on_a, on_c = cross(on_a, c.seen(), 127)
    found = find_exchanges([on_a, on_b, on_c], min_gain=4.0)
    assert [(e.first, e.second) for e in found] == [(0, 1), (0, 2)]
    assert abs(found[0].frame_index - 75) <= 12
    assert abs(found[1].frame_index - 127) <= 12


def test_tracks_that_never_part_are_not_judged() -> None:
    a, b = Walker(walk(300, 0)).seen(), Walker(walk(320, 0)).seen()
    assert find_exchanges([a, b], min_gain=-1e9) == []


def test_no_tracks_and_empty_tracks_have_no_exchanges() -> None:
    nothing = NEAR.seen().rows(np.zeros(len(LOOKS), np.bool_))
    assert find_exchanges([], min_gain=0.0) == []
    assert find_exchanges([nothing, NEAR.seen(), nothing], min_gain=0.0) == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), is_exchanged=st.booleans())
def test_jitter_and_misses_do_not_change_the_verdict_on_people_of_different_clothes(
    seed: int, is_exchanged: bool
) -> None:
    rng = np.random.default_rng(seed)
    a = replace(NEAR, height_px=200.0, colours=RED).seen(jitter=0.04, rng=rng)
    b = replace(FAR, colours=GREEN).seen(jitter=0.04, rng=rng)
    tracks = [
        replace(t, is_backed=rng.random(len(t)) > 0.2, colours=t.colours + rng.normal(0, 4, (30, 6))) for t in (a, b)
    ]
    found = find_exchanges(cross(tracks[0], tracks[1], 75) if is_exchanged else tracks, min_gain=4.0)
    assert len(found) == is_exchanged


def test_the_verdict_does_not_depend_on_the_order_of_tracks() -> None:
    tracks = cross(NEAR.seen(), FAR.seen(), 75)
    (there,) = find_exchanges(tracks, min_gain=4.0)
    (back,) = find_exchanges(tracks[::-1], min_gain=4.0)
    assert there.frame_index == back.frame_index
    assert there.gain == pytest.approx(back.gain)
