"""Where a track goes on with somebody else.

A track that was lost, or was close to others, and wears other clothes ever after, has probably moved on to another person: it is cut
there. To cut costs nothing: pieces that fit each other better than anything else are joined again (`posecli.people.stitching`).
"""

from __future__ import annotations

import numpy as np

from posecli.people.clothes import NEAR_S, Clothes, look_costs, strangeness, usual_clothes
from posecli.people.sightings import Sightings

# Without a detection for longer, a track may have come back on anybody; so it may within this of somebody near.
_LOST_S = 0.3
_BESIDE_S = 0.5


def find_changes(track: Sightings, *, min_strangeness: float) -> list[int]:
    """Frames from which on a track is somebody else.

    Args:
        track: Of one video, knowing of the others (`posecli.people.sightings.with_clearness`).
        min_strangeness: How unlike the clothes before and after must be, in units of twice the log odds.

    Returns:
        The first frames of the later pieces, ascending.
    """
    seen = track.rows(track.is_backed)
    places = _doubtful_places(seen)
    sides = [_clothes_around(seen, place) for place in places]
    strange = [strangeness(early, late) for early, late in sides]
    if max(strange, default=-np.inf) <= min_strangeness:
        return []
    early, late = sides[int(np.argmax(strange))]
    # Looks beside others hardly count for what is usual, but they say where in between it changed.
    gains = np.nan_to_num(look_costs(seen, early) - look_costs(seen, late)).sum(axis=-1)
    frame = int(seen.frames[max(places, key=lambda place: gains[place:].sum() - gains[:place].sum())])
    return [
        *find_changes(track.rows(track.frames < frame), min_strangeness=min_strangeness),
        frame,
        *find_changes(track.rows(track.frames >= frame), min_strangeness=min_strangeness),
    ]


def _clothes_around(seen: Sightings, place: int) -> tuple[Clothes, Clothes]:
    """Those shortly before a row, and those from there on."""
    is_early = np.arange(len(seen)) < place
    near_s = np.abs(seen.times_s - np.where(is_early, seen.times_s[place - 1], seen.times_s[place]))
    early, late = (seen.rows(side & (near_s <= NEAR_S)) for side in (is_early, ~is_early))
    return usual_clothes(early), usual_clothes(late)


def _doubtful_places(seen: Sightings) -> list[int]:
    """Rows before which the track was lost, or somebody was near."""
    if len(seen) < 2:
        return []
    is_lost = np.diff(seen.times_s) > _LOST_S
    crowded_s = seen.times_s[~seen.is_clear]
    middles = (seen.times_s[1:] + seen.times_s[:-1]) / 2.0
    nearest = np.searchsorted(crowded_s, middles)
    padded = np.concatenate([[-np.inf], crowded_s, [np.inf]])
    is_beside = np.minimum(middles - padded[nearest], padded[nearest + 1] - middles) <= _BESIDE_S
    return [int(row) + 1 for row in np.flatnonzero(is_lost | is_beside)]
