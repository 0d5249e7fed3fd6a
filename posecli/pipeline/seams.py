"""Stretches of a video put together again: who is who on both sides of a seam, and one record of pass 1 as if there had been no seams.

Neighbours have both seen the time before a seam. Their tracks there are matched one to one; a person keeps the id of the earlier
stretch. What pass 2 makes of the joined records is what it makes of those of a single pass: it joins, mends, numbers and smooths whole
tracks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from posecli.geometry import iou_matrix
from posecli.people.stitching import shared_oks
from posecli.pipeline.second_pass import collect
from posecli.pipeline.stretches import Stretch
from posecli.records import FloatArray, PoseSequence
from posecli.skeletons import POSECLI19

MIN_LIKENESS = 0.5
"""Tracks whose poses (boxes, where poses say nothing) are less alike than this on average are different people."""

_ROWS = ("boxes", "poses", "colours")

Record = Mapping[str, Any]


@dataclass(frozen=True)
class StretchRecords:
    """What pass 1 has found in a stretch.

    Attributes:
        stretch: Which.
        read: Gives the chunks of its journal, in order, as often as it is called.
        next_chunk: The one after its last; ``state`` is the state after that. ``None``: the video ends before the stretch.
    """

    stretch: Stretch
    read: Callable[[], Iterable[Record]]
    next_chunk: int
    state: Mapping[str, Any] | None


def match_tracks(
    earlier: Sequence[PoseSequence], later: Sequence[PoseSequence], *, since: int, sigmas: FloatArray
) -> dict[int, int]:
    """Who is who where two stretches overlap.

    Tracks are alike as their poses are on the frames that both have (OKS; where poses show too little, IoU of boxes). Frames count
    more the later they are: it matters who is who at the seam, not what happened before.

    Args:
        earlier: Tracks of the earlier stretch, cut to the overlap.
        later: Those of the later one.
        since: First frame of the overlap.
        sigmas: (K,) of the skeleton.

    Returns:
        Ids of the earlier stretch by ids of the later one; one to one, whoever has no partner is left out.
    """
    shared = np.zeros((len(earlier), len(later)))
    for a, first in enumerate(earlier):
        for b, second in enumerate(later):
            frames, likeness = _likeness(first, second, sigmas)
            weights = (frames - since + 1).astype(np.float64)
            if len(frames) and float(np.average(likeness, weights=weights)) >= MIN_LIKENESS:
                shared[a, b] = float(weights @ likeness)
    pairs = zip(*linear_sum_assignment(shared, maximize=True), strict=True)
    return {later[b].track_id: earlier[a].track_id for a, b in pairs if shared[a, b] > 0}


def _likeness(a: PoseSequence, b: PoseSequence, sigmas: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frames that both have, and how alike they are there."""
    frames, oks = shared_oks(a, b, sigmas)
    unknown = np.flatnonzero(np.isnan(oks))
    rows_a = np.searchsorted(a.frame_indices, frames[unknown])
    rows_b = np.searchsorted(b.frame_indices, frames[unknown])
    for at, row_a, row_b in zip(unknown, rows_a, rows_b, strict=True):
        oks[at] = iou_matrix(a.boxes[[row_a]], b.boxes[[row_b]])[0, 0]
    return frames, oks


@dataclass
class _Names:
    """Ids of one stretch, as ids of the whole video: those of the stretch before for people known from there, else new ones."""

    base: int = 0
    known: Mapping[int, int] = field(default_factory=dict)

    def of(self, track_id: int) -> int:
        return self.known.get(track_id, self.base + track_id)


class Seams:
    """Stretches of a video, joined.

    Args:
        parts: All stretches, in order; those that the video does not reach are passed over.
        hop: Frames from window to window.

    Attributes:
        next_chunk: The one after the last of the video.
        num_matched: How many tracks go on across each seam.
    """

    def __init__(self, parts: Sequence[StretchRecords], *, hop: int) -> None:
        used = [part for part in parts if part.state is not None and part.next_chunk > part.stretch.seam]
        self._hop, self._parts = hop, used
        self._names = [_Names()]
        self.num_matched: list[int] = []
        for before, after in pairwise(used):
            self._sew(before, after)
        self.next_chunk = used[-1].next_chunk if used else 0

    def records(self) -> Iterator[dict[str, Any]]:
        """The chunks of the whole video, each frame from the one stretch that it counts for."""
        looked_at = {row[0] for record in self._renamed() for row in record["boxes"]}
        for record in self._renamed():
            # a window reaches across the seam: poses there of somebody whom no look on this side has seen
            for kind in ("poses", "colours"):
                record[kind] = [row for row in record[kind] if row[0] in looked_at]
            yield record

    def state(self) -> dict[str, Any]:
        """What the pass would know at the end of the video, had there been only one."""
        last, names = self._parts[-1].state, self._names[-1]
        assert last is not None, "parts without a state are passed over"
        tracker = last["tracker"]
        return {
            **last,
            "tracker": {
                **tracker,
                "next_id": names.base + tracker["next_id"],
                "confirmed": sorted({names.of(i) for state, names in self._trackers() for i in state["confirmed"]}),
                "merged": [list(pair) for pair in self._merged().items()],
                "alike": [[names.of(old), names.of(young), count] for old, young, count in tracker["alike"]],
                "tracks": [{**track, "track_id": names.of(track["track_id"])} for track in tracker["tracks"]],
            },
            "mergers": {str(names.of(int(i))): content for i, content in last["mergers"].items()},
        }

    def _sew(self, before: StretchRecords, after: StretchRecords) -> None:
        assert before.state is not None, "parts without a state are passed over"
        since = after.stretch.start * self._hop
        overlap = [self._overlap(part, since, (after.stretch.seam + 1) * self._hop) for part in (before, after)]
        matches = match_tracks(*overlap, since=since, sigmas=POSECLI19.sigma_array)
        names = self._names[-1]
        known = {later: names.of(earlier) for later, earlier in matches.items()}
        self._names.append(_Names(names.base + before.state["tracker"]["next_id"], known))
        self.num_matched.append(len(known))

    def _overlap(self, part: StretchRecords, since: int, until: int) -> tuple[PoseSequence, ...]:
        records = list(_cut(part.read(), since, until))
        looked_at = {row[0] for record in records for row in record["boxes"]}
        for record in records:
            record["poses"] = [row for row in record["poses"] if row[0] in looked_at]
        return collect(records, num_keypoints=len(POSECLI19.sigma_array)).poses

    def _renamed(self) -> Iterator[dict[str, Any]]:
        ends = [part.stretch.seam * self._hop for part in self._parts[1:]]
        for part, end, names in zip(self._parts, [*ends, None], self._names, strict=True):
            for record in _cut(part.read(), part.stretch.seam * self._hop, end):
                for kind in _ROWS:
                    record[kind] = [[names.of(row[0]), *row[1:]] for row in record[kind]]
                yield record

    def _trackers(self) -> Iterator[tuple[Mapping[str, Any], _Names]]:
        for part, names in zip(self._parts, self._names, strict=True):
            if part.state is not None:
                yield part.state["tracker"], names

    def _merged(self) -> dict[int, int]:
        """Ids that are somebody else's, an older one's; both stretches at a seam may have found that out."""
        merged: dict[int, int] = {}

        def root(track_id: int) -> int:
            while track_id in merged:
                track_id = merged[track_id]
            return track_id

        for tracker, names in self._trackers():
            for young, old in tracker["merged"]:
                low, high = sorted((root(names.of(young)), root(names.of(old))))
                if low != high:
                    merged[high] = low
        return merged


def _cut(records: Iterable[Record], since: int, until: int | None) -> Iterator[dict[str, Any]]:
    """Chunks with the rows of frames [since, until) only; those without any are left out."""

    def is_in(frame: int) -> bool:
        return frame >= since and (until is None or frame < until)

    for record in records:
        kept = {kind: [row for row in record[kind] if is_in(row[1])] for kind in _ROWS}
        frames = [row for row in record["frames"] if is_in(row[0])]
        if frames or any(kept.values()):
            yield {"chunk": record["chunk"], "frames": frames, **kept}
