"""Finished tracks, looked at once more as a whole: mend, fill, sort out, number, and say where doubt remains.

The tracker decides frame by frame; here the end of one track and the beginning of the next are both known. Rows (frames of a track)
that nothing backs are cut, tracks of the same person are joined, what is too short or too unsure is dropped, tracks that changed
people where those met are put right, short gaps are filled, and ids are numbered from 0 in order of appearance.

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
from posecli.people.crossings import Exchange, find_exchanges
from posecli.people.sightings import ColourTable, sightings_of
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
    change places after a meeting when that fits better by this (twice the log odds). ``suspect_oks``: tracks this alike in some frame
    are reported. ``min_frames`` (never more than the video has) and ``min_score``
    (mean pose score): what a track needs to stay.
    """

    max_stitch_gap_s: float = 1.5
    min_fit: float = 0.3
    max_fill_gap_s: float = 0.5
    min_backing_score: float = 0.3
    duplicate_oks: float = 0.7
    min_exchange_gain: float = 4.0
    suspect_oks: float = 0.5
    min_frames: int = 4
    min_score: float = 0.3

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

    ``poses`` by id; ``suspects`` in order of frames; ``new_ids``: ids that came in -> ids that went out (dropped: absent); where
    tracks were exchanged, the one that has the beginning.
    """

    poses: tuple[PoseSequence, ...]
    suspects: tuple[SuspectSwitch, ...]
    new_ids: Mapping[int, int]


@dataclass(frozen=True)
class _Group:
    """A track in the making, with the ids it came from, the stitches that were doubtful and the exchanges (frames)."""

    sequence: PoseSequence
    ids: tuple[int, ...]
    doubtful_frames: tuple[int, ...] = ()
    exchanged_frames: tuple[int, ...] = ()


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
    groups = _merged_groups(poses, merged or {}, confirmed_ids)
    groups = [_cut_unbacked(group, config.min_backing_score) for group in groups]
    groups = [group for group in groups if len(group.sequence)]
    if not groups:
        return StitchResult((), (), {})
    sigmas = get_skeleton(groups[0].sequence.skeleton).sigma_array
    groups = _join_duplicates(groups, sigmas, config.duplicate_oks)
    groups = _join_stitches(groups, times, first_frame_index, sigmas, config)
    groups = [g for g in groups if _is_worth(g.sequence, min(config.min_frames, len(times)), config.min_score)]
    looked_at = first_frame_index + np.arange(len(times)) if looked_at is None else looked_at
    row_times = [times[group.sequence.frame_indices - first_frame_index] for group in groups]
    sightings = [
        sightings_of(g.sequence, g.ids, t, looked_at=looked_at, colours=colours or {})
        for g, t in zip(groups, row_times, strict=True)
    ]
    groups = _exchanged(groups, find_exchanges(sightings, min_gain=config.min_exchange_gain))
    groups = [
        replace(group, sequence=_fill_gaps(group.sequence, times, first_frame_index, config.max_fill_gap_s))
        for group in groups
    ]
    groups.sort(key=lambda group: (int(group.sequence.frame_indices[0]), min(group.ids)))
    groups = [replace(group, sequence=replace(group.sequence, track_id=n)) for n, group in enumerate(groups)]
    suspects = _suspects(groups, times, first_frame_index, sigmas, config)
    new_ids = {old: group.sequence.track_id for group in groups for old in group.ids}
    return StitchResult(tuple(group.sequence for group in groups), suspects, dict(sorted(new_ids.items())))


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


def _merged_groups(
    poses: Sequence[PoseSequence], merged: Mapping[int, int], confirmed_ids: Collection[int] | None
) -> list[_Group]:
    by_root: dict[int, list[PoseSequence]] = {}
    for sequence in sorted(poses, key=lambda s: s.track_id):
        root = sequence.track_id
        while root in merged:
            root = merged[root]
        if confirmed_ids is None or root in confirmed_ids:
            by_root.setdefault(root, []).append(sequence)
    return [_Group(join_rows(parts), tuple(part.track_id for part in parts)) for parts in by_root.values()]


def _cut_unbacked(group: _Group, min_score: float) -> _Group:
    """Without the rows that neither a detection nor a fair pose backs: the track was lost there."""
    sequence = group.sequence
    backed = ~sequence.interpolated | (pose_score(sequence.scores) >= min_score)
    return group if backed.all() else replace(group, sequence=select_rows(sequence, backed))


def _join_duplicates(groups: list[_Group], sigmas: FloatArray, min_oks: float) -> list[_Group]:
    """Tracks that lie on one body wherever both are present are one; the older one's rows count."""
    sequences = [group.sequence for group in groups]
    root = list(range(len(groups)))

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
    members: dict[int, list[_Group]] = {}
    for n, group in enumerate(groups):
        members.setdefault(find(n), []).append(group)
    return [_joined(parts) for parts in members.values()]


def _join_stitches(
    groups: list[_Group], times: Float64Array, first_frame_index: int, sigmas: FloatArray, config: StitchConfig
) -> list[_Group]:
    sequences = [group.sequence for group in groups]
    row_times = [times[sequence.frame_indices - first_frame_index] for sequence in sequences]
    stitches = find_stitches(sequences, row_times, sigmas, max_gap_s=config.max_stitch_gap_s, min_fit=config.min_fit)
    after: dict[int, Stitch] = {stitch.earlier: stitch for stitch in stitches}
    continued = {stitch.later for stitch in stitches}
    result = []
    for n, group in enumerate(groups):
        if n in continued:
            continue
        parts, doubtful, at = [group], list(group.doubtful_frames), n
        while at in after:
            stitch = after[at]
            at = stitch.later
            parts.append(groups[at])
            if stitch.is_ambiguous:
                doubtful.append(int(groups[at].sequence.frame_indices[0]))
        result.append(replace(_joined(parts), doubtful_frames=tuple(doubtful)))
    return result


def _exchanged(groups: Sequence[_Group], exchanges: Sequence[Exchange]) -> list[_Group]:
    """Who was on one track until an exchange goes on with the rest of the other."""
    by_number = list(groups)
    for exchange in exchanges:
        a, b, frame = exchange.first, exchange.second, exchange.frame_index
        pair = by_number[a], by_number[b]
        by_number[a], by_number[b] = _crossed(pair[1], pair[0], frame), _crossed(pair[0], pair[1], frame)
    return [group for group in by_number if len(group.sequence)]


def _crossed(before: _Group, after: _Group, frame: int) -> _Group:
    early, late = before.sequence.frame_indices < frame, after.sequence.frame_indices >= frame
    return _Group(
        join_rows([select_rows(before.sequence, early), select_rows(after.sequence, late)]),
        before.ids,
        tuple(f for f in before.doubtful_frames if f < frame) + tuple(f for f in after.doubtful_frames if f >= frame),
        (*(f for f in before.exchanged_frames if f < frame), frame),
    )


def _joined(parts: Sequence[_Group]) -> _Group:
    return _Group(join_rows([part.sequence for part in parts]), tuple(i for part in parts for i in part.ids))


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
    groups: list[_Group], times: Float64Array, first_frame_index: int, sigmas: FloatArray, config: StitchConfig
) -> tuple[SuspectSwitch, ...]:
    sequences = [group.sequence for group in groups]
    found = [SuspectSwitch(f, (g.sequence.track_id,), "stitched") for g in groups for f in g.doubtful_frames]
    found += [SuspectSwitch(f, (g.sequence.track_id,), "exchanged") for g in groups for f in g.exchanged_frames]
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
