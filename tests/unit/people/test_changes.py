"""Where a track goes on with somebody else: told by clothes, only where it was lost or others were near."""

from __future__ import annotations

import numpy as np
import pytest

from posecli.people.changes import find_changes
from posecli.people.clothes import end_clothes, strangeness, usual_clothes
from posecli.people.sightings import Sightings

LOOKS = np.arange(2, 152, 5)
RED, GREEN, WHITE = (45.0, 60.0, 40.0, 30.0, 0.0, 0.0), (50.0, -50.0, 40.0, 60.0, 0.0, -30.0), (95.0, 0.0, 0.0) * 2


def track(
    *worn: tuple[float, ...], changes: tuple[int, ...] = (), unseen: range = range(0), beside: range = range(0)
) -> Sightings:
    """Looks at 6 Hz; ``worn`` until, between and after the frames of ``changes``; unseen and beside others in those frames."""
    which = np.searchsorted(np.array(changes, np.int64), LOOKS, side="right")
    return Sightings(
        frames=LOOKS,
        times_s=LOOKS / 30.0,
        boxes=np.tile(np.array([100.0, 100.0, 180.0, 300.0]), (len(LOOKS), 1)),
        is_backed=~np.isin(LOOKS, unseen),
        is_clear=~np.isin(LOOKS, beside),
        colours=np.array(worn)[which],
    )


def test_who_comes_back_in_other_clothes_is_somebody_else() -> None:
    assert find_changes(track(RED, GREEN, changes=(80,), unseen=range(60, 95)), min_strangeness=6.0) == [97]


def test_who_wears_other_clothes_after_others_were_near_is_somebody_else() -> None:
    assert find_changes(track(RED, GREEN, changes=(77,), beside=range(65, 90)), min_strangeness=6.0) == [77]


def test_who_was_never_lost_nor_near_others_is_the_same_whatever_the_light() -> None:
    assert find_changes(track(RED, GREEN, changes=(77,)), min_strangeness=6.0) == []


@pytest.mark.parametrize("unseen", [range(60, 95), range(0)])
def test_the_same_clothes_are_the_same_person(unseen: range) -> None:
    assert find_changes(track(RED, unseen=unseen, beside=range(60, 100)), min_strangeness=6.0) == []


def test_a_track_may_change_more_than_once() -> None:
    changed = track(RED, GREEN, WHITE, changes=(50, 100), beside=range(40, 110))
    assert find_changes(changed, min_strangeness=6.0) == [52, 102]


def test_nothing_can_be_said_of_empty_tracks_or_unknown_colours() -> None:
    nothing = track(RED).rows(np.zeros(len(LOOKS), np.bool_))
    assert find_changes(nothing, min_strangeness=0.0) == []
    unknown = track((np.nan,) * 6, beside=range(150))
    assert find_changes(unknown, min_strangeness=0.0) == []
    assert strangeness(usual_clothes(unknown), usual_clothes(track(RED))) == 0.0
    assert np.isnan(end_clothes(nothing)[0].colours).all()


def test_strangers_are_strange_and_the_same_are_not() -> None:
    red, green = usual_clothes(track(RED)), usual_clothes(track(GREEN))
    assert strangeness(red, green) > 10.0
    assert strangeness(red, red) < -10.0
    assert strangeness(red, green) == pytest.approx(strangeness(green, red))


def test_clothes_are_those_of_clear_looks_where_there_are_any() -> None:
    mixed = track(RED, GREEN, changes=(30,), beside=range(30, 150))
    np.testing.assert_allclose(usual_clothes(mixed).colours.ravel(), RED)
    np.testing.assert_allclose(usual_clothes(mixed).num_looks, 6.0)
    crowded = usual_clothes(mixed.rows(~mixed.is_clear))
    np.testing.assert_allclose(crowded.colours.ravel(), GREEN)
    np.testing.assert_allclose(crowded.num_looks, 6.0)


def test_clothes_at_the_ends_are_those_of_backed_looks() -> None:
    first, last = end_clothes(track(RED, GREEN, WHITE, changes=(70, 130), unseen=range(130, 152)))
    np.testing.assert_allclose(first.colours.ravel(), RED)
    np.testing.assert_allclose(last.colours.ravel(), GREEN)
