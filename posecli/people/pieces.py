"""Tracks in the making: rows that are cut, joined and exchanged, together with what is known of them.

Legend: T frames of a track, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from posecli.people.sightings import Sightings, joined
from posecli.records import BoolArray, PoseSequence


@dataclass(frozen=True)
class Piece:
    """A track in the making.

    Attributes:
        sequence: Its rows.
        seen: Those of its rows whose frames were searched for people.
        ids: Of the tracker, those that begin in it.
        doubtful_frames: Where it was joined although another one fitted as well.
        exchanged_frames: Where it changed places with another one.
    """

    sequence: PoseSequence
    seen: Sightings
    ids: tuple[int, ...]
    doubtful_frames: tuple[int, ...] = ()
    exchanged_frames: tuple[int, ...] = ()

    def rows(self, chosen: BoolArray) -> Piece:
        """Only some of the rows, chosen (T,); of the frames noted, those that remain."""
        sequence = select_rows(self.sequence, chosen)
        kept = set(sequence.frame_indices.tolist())
        return Piece(
            sequence,
            self.seen.rows(np.isin(self.seen.frames, sequence.frame_indices)),
            self.ids,
            tuple(frame for frame in self.doubtful_frames if frame in kept),
            tuple(frame for frame in self.exchanged_frames if frame in kept),
        )

    def cut(self, frame: int) -> tuple[Piece, Piece]:
        """Before the frame, and from it on; the ids stay with the beginning."""
        is_early = self.sequence.frame_indices < frame
        return self.rows(is_early), replace(self.rows(~is_early), ids=())


def join_pieces(parts: Sequence[Piece]) -> Piece:
    """One of several; where they share a frame, the first that has it counts."""
    if len(parts) == 1:
        return parts[0]
    return Piece(
        join_rows([part.sequence for part in parts]),
        joined([part.seen for part in parts]),
        tuple(i for part in parts for i in part.ids),
        tuple(frame for part in parts for frame in part.doubtful_frames),
        tuple(frame for part in parts for frame in part.exchanged_frames),
    )


def select_rows(sequence: PoseSequence, rows: NDArray[np.integer] | NDArray[np.bool_]) -> PoseSequence:
    """The same track with only some of its rows."""
    columns = {name: getattr(sequence, name)[rows] for name in _ROW_FIELDS}
    return PoseSequence(sequence.track_id, sequence.skeleton, **columns)


def join_rows(sequences: Sequence[PoseSequence]) -> PoseSequence:
    """One track with the rows of several, under the id of the first; where they share a frame, the first that has it counts."""
    first = sequences[0]
    if len(sequences) == 1:
        return first
    columns = {name: np.concatenate([getattr(s, name) for s in sequences]) for name in _ROW_FIELDS}
    _, rows = np.unique(columns["frame_indices"], return_index=True)
    return PoseSequence(first.track_id, first.skeleton, **{name: column[rows] for name, column in columns.items()})


_ROW_FIELDS = tuple(field.name for field in fields(PoseSequence) if field.name not in ("track_id", "skeleton"))
