"""Finished tracks, looked at once more as a whole: mend, fill, sort out, number, and say where doubt remains.

The tracker decides frame by frame; here the end of one track and the beginning of the next are both known. Rows (frames of a track)
that nothing backs are cut, tracks of the same person are joined, what is too short or too unsure is dropped, tracks that changed
people where those met are put right, as are those that came back on somebody else, short gaps are filled, and ids are numbered from 0
in order of appearance.

Suspects are the places where an id may have moved from one person to another. Smooth afterwards (`pose/smoothing.py`), so that the
seams are smoothed too.

Legend: T frames of a track, K keypoints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from posecli.errors import ConfigError
from posecli.people.changes import find_changes
from posecli.people.clothes import end_clothes
from posecli.people.crossings import Exchange, find_exchanges
from posecli.people.pieces import Piece, join_pieces, join_rows, select_rows
from posecli.people.sightings import ColourTable, sightings_of, with_clearness
from posecli.people.similarity import MIN_KEYPOINT_SCORE, pose_score
from posecli.people.stitching import Stitch, find_stitches, overlapping_pairs, shared_oks
from posecli.records import FloatArray, IntArray, PoseSequence
from posecli.skeletons import get_skeleton

Float64Array = NDArray[np.float64]

# Between neighbouring rows the middle keypoint may move this many box heights, at once and per second.
_JUMP_HEIGHTS = 0.35
_JUMP_HEIGHTS_PER_S = 4.0
_JUMP_WINDOW_S = 0.3
# Two tracks on one body are reported once per episode; a second apart is another episode.
_EPISODE_GAP_S = 1.0


@dataclass(frozen=True)
class StitchConfig:
    """What is mended and what is thrown away.

    ``max_stitch_gap_s``: a track may continue another after at most this. ``min_fit``: how well it must fit (`find_stitches`).
    ``max_fill_gap_s``: gaps inside a track up to this are filled by interpolation. ``min_backing_score``: a row without a detection
    whose pose scores less is cut. ``duplicate_oks``: tracks whose poses are this alike on the frames they share are one.
    ``min_exchange_gain``: tracks
    change places after a meeting when that fits better by this (twice the log odds). ``min_strangeness``: a track is cut where the
    clothes before and after differ by this (likewise). ``suspect_oks``: tracks this alike in some frame
    are reported. ``min_frames`` (never more than the video has) and ``min_score``
    (mean pose score): what a track needs to stay.
    """

    max_stitch_gap_s: float = 1.5
    min_fit: float = 0.3
    max_fill_gap_s: float = 0.5
    min_backing_score: float = 0.3
    duplicate_oks: float = 0.7
    min_exchange_gain: float = 8.0
    min_strangeness: float = 6.0
    suspect_oks: float = 0.5
    min_frames: int = 4
    min_score: float = 0.34

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0:
                raise ConfigError(f"stitch {field.name} is {value}", hint="give a number of at least 0")
            if field.name.endswith(("_fit", "_score", "_oks")) and value > 1:
                raise ConfigError(f"stitch {field.name} is {value}", hint="give a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class SuspectSwitch:
    """A frame where ids may have moved between people.

    ``reason``: ``stitched`` (two tracks were joined although another fitted as well), ``exchanged`` (two tracks were, after a
    meeting), ``overlap`` (two tracks on one body), ``jump`` (a pose leaps).
    """

    frame_index: int
    track_ids: tuple[int, ...]
    reason: Literal["stitched", "exchanged", "overlap", "jump"]


@dataclass(frozen=True)
class StitchResult:
    """What came of the tracks.

    ``poses`` by id; ``suspects`` in order of frames; ``new_ids``: ids that came in -> ids that went out (dropped: absent); where a
    track was cut, the one that has its beginning.
    """

    poses: tuple[PoseSequence, ...]
    suspects: tuple[SuspectSwitch, ...]
    new_ids: Mapping[int, int]


def stitch_tracks(
    poses: Sequence[PoseSequence],
    time_s: Float64Array,
    config: StitchConfig | None = None,
    *,
    first_frame_index: int = 0,
    confirmed_ids: Collection[int] | None = None,
    merged: Mapping[int, int] | None = None,
    looked_at: IntArray | None = None,
    colours: Mapping[int, ColourTable] | None = None,
) -> StitchResult:
    """Mend the tracks of one video.

    Args:
        poses: One sequence per id of the tracker, all of one skeleton; rows in order of frames.
        time_s: (F,) seconds of all frames of the video (``FrameTable.time_s``): row i is frame ``first_frame_index + i``.
        config: What is mended and what is thrown away.
        first_frame_index: The frame of the first row of ``time_s``.
        confirmed_ids: The tracks that count (`TrackLedger.confirmed_ids`); ``None``: all.
        merged: Ids that are another one (`TrackLedger.merged`).
        looked_at: The frames that were searched for people, ascending: between them, boxes are interpolated; ``None``: all.
        colours: What people wear, by id; of none, some or all of those frames.

    Returns:
        The tracks, numbered from 0, and what was doubtful about them. In filled rows ``interpolated`` is true, ``raw_keypoints`` are
        NaN, and scores are the lower of those at both sides of the gap.
    """
    config = config or StitchConfig()
    times = np.asarray(time_s, np.float64)
    looked_at = first_frame_index + np.arange(len(times)) if looked_at is None else looked_at
    kept = _merged(poses, merged or {}, confirmed_ids)
    pieces = [
        join_pieces([_piece_of(sequence, times, first_frame_index, looked_at, colours or {}) for sequence in group])
        for group in kept
    ]
    pieces = [_cut_unbacked(piece, config.min_backing_score) for piece in pieces]
    pieces = [piece for piece in pieces if len(piece.sequence)]
    if not pieces:
        return StitchResult((), (), {})
    sigmas = get_skeleton(pieces[0].sequence.skeleton).sigma_array
    pieces = _join_duplicates(pieces, sigmas, config.duplicate_oks)
    pieces = _knowing_of_each_other(pieces)
    pieces = _joined(pieces, times, first_frame_index, sigmas, config)
    pieces = _worthy(pieces, len(times), config)
    pieces = _exchanged(pieces, find_exchanges([piece.seen for piece in pieces], min_gain=config.min_exchange_gain))
    pieces = [part for piece in pieces for part in _divided(piece, config.min_strangeness)]
    pieces = _joined(pieces, times, first_frame_index, sigmas, config)
    pieces = _worthy(pieces, len(times), config)
    pieces = [
        replace(piece, sequence=_fill_gaps(piece.sequence, times, first_frame_index, config.max_fill_gap_s))
        for piece in pieces
    ]
    pieces.sort(key=lambda piece: (int(piece.sequence.frame_indices[0]), piece.ids))
    pieces = [replace(piece, sequence=replace(piece.sequence, track_id=n)) for n, piece in enumerate(pieces)]
    suspects = _suspects(pieces, times, first_frame_index, sigmas, config)
    new_ids = {old: piece.sequence.track_id for piece in pieces for old in piece.ids}
    return StitchResult(tuple(piece.sequence for piece in pieces), suspects, dict(sorted(new_ids.items())))


def _merged(
    poses: Sequence[PoseSequence], merged: Mapping[int, int], confirmed_ids: Collection[int] | None
) -> list[list[PoseSequence]]:
    by_root: dict[int, list[PoseSequence]] = {}
    for sequence in sorted(poses, key=lambda s: s.track_id):
        root = sequence.track_id
        while root in merged:
            root = merged[root]
        if confirmed_ids is None or root in confirmed_ids:
            by_root.setdefault(root, []).append(sequence)
    return list(by_root.values())


def _piece_of(
    sequence: PoseSequence,
    times: Float64Array,
    first_frame_index: int,
    looked_at: IntArray,
    colours: Mapping[int, ColourTable],
) -> Piece:
    row_times = times[sequence.frame_indices - first_frame_index]
    seen = sightings_of(sequence, row_times, looked_at=looked_at, colours=colours.get(sequence.track_id))
    return Piece(sequence, seen, (sequence.track_id,))


def _cut_unbacked(piece: Piece, min_score: float) -> Piece:
    """Without the rows that neither a detection nor a fair pose backs: the track was lost there."""
    backed = ~piece.sequence.interpolated | (pose_score(piece.sequence.scores) >= min_score)
    return piece if backed.all() else piece.rows(backed)


def _knowing_of_each_other(pieces: Sequence[Piece]) -> list[Piece]:
    seen = with_clearness([piece.seen for piece in pieces])
    return [replace(piece, seen=sightings) for piece, sightings in zip(pieces, seen, strict=True)]


def _join_duplicates(pieces: list[Piece], sigmas: FloatArray, min_oks: float) -> list[Piece]:
    """Tracks that lie on one body wherever both are present are one; the older one's rows count."""
    sequences = [piece.sequence for piece in pieces]
    root = list(range(len(pieces)))

    def find(n: int) -> int:
        while root[n] != n:
            n = root[n]
        return n

    for a, b in overlapping_pairs(sequences):
        _, oks = shared_oks(sequences[a], sequences[b], sigmas)
        known = oks[np.isfinite(oks)]
        if known.size and float(np.median(known)) >= min_oks:
            low, high = sorted((find(a), find(b)))
            root[high] = low
    members: dict[int, list[Piece]] = {}
    for n, piece in enumerate(pieces):
        members.setdefault(find(n), []).append(piece)
    return [join_pieces(parts) for parts in members.values()]


def _joined(
    pieces: list[Piece], times: Float64Array, first_frame_index: int, sigmas: FloatArray, config: StitchConfig
) -> list[Piece]:
    """Each with what continues it."""
    sequences = [_backed_span(piece.sequence) for piece in pieces]
    row_times = [times[sequence.frame_indices - first_frame_index] for sequence in sequences]
    stitches = find_stitches(
        sequences,
        row_times,
        sigmas,
        max_gap_s=config.max_stitch_gap_s,
        min_fit=config.min_fit,
        clothes=[end_clothes(piece.seen) for piece in pieces],
    )
    after: dict[int, Stitch] = {stitch.earlier: stitch for stitch in stitches}
    continued = {stitch.later for stitch in stitches}
    result = []
    for n, piece in enumerate(pieces):
        if n in continued:
            continue
        parts, doubtful, at = [piece], [], n
        while at in after:
            stitch = after[at]
            at = stitch.later
            frame = int(sequences[at].frame_indices[0])
            parts[-1] = parts[-1].cut(frame)[0]
            parts.append(pieces[at])
            if stitch.is_ambiguous:
                doubtful.append(frame)
        whole = join_pieces(parts)
        result.append(replace(whole, doubtful_frames=(*whole.doubtful_frames, *doubtful)))
    return result


def _backed_span(sequence: PoseSequence) -> PoseSequence:
    """From the first row that a detection backs to the last: what poses alone held at the ends may have been somebody else's."""
    backed = np.flatnonzero(~sequence.interpolated)
    return select_rows(sequence, np.arange(backed[0], backed[-1] + 1)) if backed.size else sequence


def _exchanged(pieces: Sequence[Piece], exchanges: Sequence[Exchange]) -> list[Piece]:
    """Who was on one track until an exchange goes on with the rest of the other."""
    by_number = list(pieces)
    for exchange in exchanges:
        frame = exchange.frame_index
        cuts = [by_number[n].cut(frame) for n in (exchange.first, exchange.second)]
        for n, (before, _), (_, after) in ((exchange.first, cuts[1], cuts[0]), (exchange.second, cuts[0], cuts[1])):
            whole = join_pieces([before, after])
            by_number[n] = replace(whole, exchanged_frames=(*whole.exchanged_frames, frame))
    return by_number


def _divided(piece: Piece, min_strangeness: float) -> list[Piece]:
    parts = []
    for frame in find_changes(piece.seen, min_strangeness=min_strangeness):
        early, piece = piece.cut(frame)
        parts.append(early)
    return [*parts, piece]


def _worthy(pieces: Sequence[Piece], num_frames: int, config: StitchConfig) -> list[Piece]:
    min_frames = min(config.min_frames, num_frames)
    return [piece for piece in pieces if _is_worth(piece.sequence, min_frames, config.min_score)]


def _is_worth(sequence: PoseSequence, min_frames: int, min_score: float) -> bool:
    return len(sequence) >= min_frames and float(pose_score(sequence.scores).mean()) >= min_score


def _fill_gaps(sequence: PoseSequence, times: Float64Array, first_frame_index: int, max_gap_s: float) -> PoseSequence:
    """Straight lines through gaps; longer gaps stay."""
    frames = sequence.frame_indices
    row_times = times[frames - first_frame_index]
    fillable = (np.diff(frames) > 1) & (np.diff(row_times) <= max_gap_s)
    gaps = np.flatnonzero(fillable)
    if not gaps.size:
        return sequence
    missing: IntArray = np.concatenate([np.arange(frames[i] + 1, frames[i + 1], dtype=np.int64) for i in gaps])
    left = np.searchsorted(frames, missing) - 1
    right = left + 1
    span = np.maximum(row_times[right] - row_times[left], 1e-9)
    share = (times[missing - first_frame_index] - row_times[left]) / span

    def between(values: FloatArray) -> FloatArray:
        weight = share.reshape(-1, *([1] * (values.ndim - 1)))
        return np.asarray(values[left] * (1.0 - weight) + values[right] * weight, np.float32)

    keypoints = between(sequence.keypoints)
    scores = np.minimum(sequence.scores[left], sequence.scores[right])
    filled = replace(
        sequence,
        frame_indices=missing,
        keypoints=keypoints,
        raw_keypoints=np.full_like(keypoints, np.nan),
        scores=np.where(np.isfinite(keypoints).all(axis=-1), scores, np.float32(0.0)),
        boxes=between(sequence.boxes),
        box_scores=np.minimum(sequence.box_scores[left], sequence.box_scores[right]),
        interpolated=np.ones(len(missing), np.bool_),
    )
    return join_rows([sequence, filled])


def _suspects(
    pieces: list[Piece], times: Float64Array, first_frame_index: int, sigmas: FloatArray, config: StitchConfig
) -> tuple[SuspectSwitch, ...]:
    sequences = [piece.sequence for piece in pieces]
    found = [
        SuspectSwitch(f, (piece.sequence.track_id,), "stitched") for piece in pieces for f in piece.doubtful_frames
    ]
    found += [
        SuspectSwitch(f, (piece.sequence.track_id,), "exchanged") for piece in pieces for f in piece.exchanged_frames
    ]
    for sequence in sequences:
        row_times = times[sequence.frame_indices - first_frame_index]
        found += [SuspectSwitch(frame, (sequence.track_id,), "jump") for frame in _jumps(sequence, row_times)]
    for a, b in overlapping_pairs(sequences):
        frames, oks = shared_oks(sequences[a], sequences[b], sigmas)
        close = np.nan_to_num(oks) >= config.suspect_oks
        ids = (sequences[a].track_id, sequences[b].track_id)
        frames, oks = frames[close], oks[close]
        breaks = np.flatnonzero(np.diff(times[frames - first_frame_index]) > _EPISODE_GAP_S) + 1
        for episode in np.split(np.arange(len(frames)), breaks) if len(frames) else []:
            worst = int(frames[episode[int(np.argmax(oks[episode]))]])
            found.append(SuspectSwitch(worst, (min(ids), max(ids)), "overlap"))
    return tuple(sorted(found, key=lambda s: (s.frame_index, s.track_ids, s.reason)))


def _jumps(sequence: PoseSequence, row_times: Float64Array) -> list[int]:
    """Frames at which most keypoints are somewhere else all at once."""
    if len(sequence) < 2:
        return []
    seen = (sequence.scores >= MIN_KEYPOINT_SCORE) & np.isfinite(sequence.keypoints).all(axis=-1)
    common = seen[1:] & seen[:-1]
    heights = np.maximum(sequence.boxes[1:, 3] - sequence.boxes[1:, 1], 1.0)
    moved = np.linalg.norm(np.diff(sequence.keypoints.astype(np.float64), axis=0), axis=-1) / heights[:, None]
    # The median over the keypoints both rows show: sorted with the others at the end.
    count = common.sum(axis=1)
    ordered = np.sort(np.where(common, moved, np.inf), axis=1)
    middle = np.take_along_axis(ordered, (np.maximum(count - 1, 0) // 2)[:, None], axis=1)[:, 0]
    steps = np.diff(row_times)
    allowed = _JUMP_HEIGHTS + _JUMP_HEIGHTS_PER_S * steps
    jumped = (count >= 4) & (middle > allowed) & (steps <= _JUMP_WINDOW_S)
    return [int(frame) for frame in sequence.frame_indices[1:][jumped]]
