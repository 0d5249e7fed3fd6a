"""What is known of a track at the frames that were searched for people: boxes, whether a detection backs them, colours.

Legend: S sightings of a track.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from posecli.geometry import box_area, intersection_area
from posecli.people.appearance import NUM_COLOURS
from posecli.records import BoolArray, FloatArray, IntArray, PoseSequence

Float64Array = NDArray[np.float64]

MAX_COVERED = 0.2
"""How much of a box another one may share before colours in it may be the other person's."""


@dataclass(frozen=True, slots=True)
class ColourTable:
    """The colours of one track: ``frames`` (N,) ascending, ``values`` (N, `NUM_COLOURS`) of `posecli.people.appearance`."""

    frames: IntArray
    values: FloatArray


@dataclass(frozen=True, slots=True)
class Sightings:
    """Rows of one track in order of time.

    ``frames`` (S,), ``times_s`` (S,), ``boxes`` (S, 4) xyxy px, ``is_backed`` (S,): a detection backs the box; ``is_clear`` (S,):
    nobody else is near enough to cover the person; ``colours`` (S, `NUM_COLOURS`): NaN where not known.
    """

    frames: IntArray
    times_s: Float64Array
    boxes: Float64Array
    is_backed: BoolArray
    is_clear: BoolArray
    colours: Float64Array

    def __len__(self) -> int:
        return len(self.frames)

    def rows(self, chosen: BoolArray) -> Sightings:
        """Only some of them."""
        return Sightings(*(getattr(self, name)[chosen] for name in _COLUMNS))


_COLUMNS = tuple(field.name for field in fields(Sightings))


def sightings_of(
    sequence: PoseSequence, times_s: Float64Array, *, looked_at: IntArray, colours: ColourTable | None
) -> Sightings:
    """What was seen of a track.

    Args:
        sequence: The track.
        times_s: (T,) seconds of its rows.
        looked_at: Frames that were searched for people, ascending.
        colours: Of any frames; ``None``: not known.
    """
    rows = np.flatnonzero(np.isin(sequence.frame_indices, looked_at))
    frames = sequence.frame_indices[rows]
    values = np.full((len(rows), NUM_COLOURS), np.nan)
    if colours is not None:
        _, mine, theirs = np.intersect1d(frames, colours.frames, assume_unique=True, return_indices=True)
        values[mine] = colours.values[theirs]
    return Sightings(
        frames=frames,
        times_s=times_s[rows],
        boxes=sequence.boxes[rows].astype(np.float64),
        is_backed=~sequence.interpolated[rows],
        is_clear=np.ones(len(rows), np.bool_),
        colours=values,
    )


def joined(parts: Sequence[Sightings]) -> Sightings:
    """All rows in order of time; where parts share a frame, the first that has it counts."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    _, rows = np.unique(columns["frames"], return_index=True)
    return Sightings(**{name: column[rows] for name, column in columns.items()})


def with_clearness(tracks: Sequence[Sightings]) -> list[Sightings]:
    """The same tracks, knowing of each other: not clear is who shares more than a fifth of the box with somebody else's."""
    frames = np.concatenate([np.zeros(0, np.int64), *(track.frames for track in tracks)])
    boxes = np.concatenate([np.zeros((0, 4)), *(track.boxes for track in tracks)])
    order = np.argsort(frames, kind="stable")
    starts = np.flatnonzero(np.diff(frames[order], prepend=-1))
    is_clear = np.ones(len(frames), np.bool_)
    for rows in np.split(order, starts[1:]):
        if len(rows) > 1:
            shared = shared_area(boxes[rows, None], boxes[None, rows])
            np.fill_diagonal(shared, 0.0)
            is_clear[rows] = (shared <= MAX_COVERED * box_area(boxes[rows])[:, None]).all(axis=1)
    ends = np.cumsum([len(track) for track in tracks], dtype=np.int64)
    return [replace(track, is_clear=is_clear[end - len(track) : end]) for track, end in zip(tracks, ends, strict=True)]


def shared_area(boxes_a: Float64Array, boxes_b: Float64Array) -> Float64Array:
    """(..., 4) twice, xyxy px -> (...) px^2 that both cover."""
    # rounded as areas of boxes are: a box shares no more than all of itself
    return intersection_area(boxes_a, boxes_b).astype(np.float32).astype(np.float64)
