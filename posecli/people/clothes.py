"""What somebody usually wears, from several looks, and how unlike the clothes of two are.

Legend: S sightings; parts of the body: trunk, thighs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posecli.people.appearance import NUM_COLOURS
from posecli.people.sightings import Sightings
from posecli.people.similarity import student_cost

Float64Array = NDArray[np.float64]

NEAR_S = 3.0
"""Looks further away in time than this say little: light changes."""

# Colours of one person at two times: light, shadow and the other side of a jacket; L*, a*, b* of each part. A single look adds four
# times that variance, as an arm or somebody unnoticed may be in front; in a crowd a look counts as little as a quarter of one.
_COLOUR_STD = np.array([10.0, 5.0, 5.0])
_LOOK_VARIANCE = 4.0
_CROWDED_LOOK = 0.25
# Degrees of freedom of Student's t: colours of an arm in front of a trunk are not a shirt's.
_FREEDOM = 3.0
# The cost of a part between two people who do not dress alike.
_STRANGER_COST = 9.0


@dataclass(frozen=True, slots=True)
class Clothes:
    """``colours`` (parts, 3): the median, NaN where never known. ``num_looks`` (parts,): how many stand behind it."""

    colours: Float64Array
    num_looks: Float64Array


def usual_clothes(track: Sightings) -> Clothes:
    """The clothes in some sightings: in those where nobody is near, if there are any."""
    colours = _by_part(track)
    usual, counts = np.full(colours.shape[1:], np.nan), np.full(colours.shape[1], np.nan)
    for part in range(colours.shape[1]):
        is_known = np.isfinite(colours[:, part]).all(axis=-1)
        is_best = is_known & track.is_clear
        if is_known.any():
            chosen = is_best if is_best.any() else is_known
            usual[part] = np.median(colours[chosen, part], axis=0)
            counts[part] = chosen.sum() * (1.0 if is_best.any() else _CROWDED_LOOK)
    return Clothes(usual, counts)


def end_clothes(track: Sightings) -> tuple[Clothes, Clothes]:
    """At the beginning and at the end of a track, as far as detections back it."""
    track = track.rows(track.is_backed)
    if not len(track):
        return usual_clothes(track), usual_clothes(track)
    is_early, is_late = track.times_s <= track.times_s[0] + NEAR_S, track.times_s >= track.times_s[-1] - NEAR_S
    return usual_clothes(track.rows(is_early)), usual_clothes(track.rows(is_late))


def clothes_cost(one: Clothes, other: Clothes) -> Float64Array:
    """(parts,): twice the negative log likelihood, less a constant, that two wear the same; NaN where one is not known."""
    variance = 1.0 + _LOOK_VARIANCE / one.num_looks + _LOOK_VARIANCE / other.num_looks
    squared = (((one.colours - other.colours) / _COLOUR_STD) ** 2).sum(axis=-1) / variance
    return student_cost(squared, freedom=_FREEDOM, size=3) + 3.0 * np.log(variance)


def strangeness(one: Clothes, other: Clothes) -> float:
    """Twice the log odds that two are different people, by their clothes: 0 when nothing can be said."""
    return float(np.nansum(clothes_cost(one, other) - _STRANGER_COST))


def look_costs(track: Sightings, clothes: Clothes) -> Float64Array:
    """(S, parts): as `clothes_cost`, for the colours of every single sighting."""
    squared = ((_by_part(track) - clothes.colours) / _COLOUR_STD) ** 2
    return student_cost(squared.sum(axis=-1), freedom=_FREEDOM, size=3)


def _by_part(track: Sightings) -> Float64Array:
    """(S, parts, 3)."""
    return track.colours.reshape(len(track), NUM_COLOURS // 3, 3)
