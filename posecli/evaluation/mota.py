"""MOTA, the CLEAR metrics of tracking, by the rules of TrackEval: matching frame by frame, pairs of the frame before preferred."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from posecli.evaluation.clip_tracks import ClipTracks
from posecli.records import IntArray

MIN_SIMILARITY = 0.5
_PREFERENCE = 1000.0
_EPSILON = float(np.finfo("float").eps)
_MOSTLY_TRACKED, _MOSTLY_LOST = 0.8, 0.2


@dataclass(frozen=True, slots=True)
class Switch:
    """A labelled person whose predicted track is another than before: ``frame`` counts the labelled frames of the clip."""

    frame: int
    truth_id: int
    from_id: int
    to_id: int


@dataclass(frozen=True, slots=True)
class MotaCounts:
    """What MOTA is made of; the counts of clips add up.

    ``similarity`` is the sum over matches; ``num_fragments`` how often somebody tracked was lost and found again; people are *mostly
    tracked* in more than 80 % of their frames, *mostly lost* below 20 %.
    """

    num_matched: int = 0
    num_missed: int = 0
    num_false: int = 0
    num_switches: int = 0
    num_fragments: int = 0
    num_mostly_tracked: int = 0
    num_partly_tracked: int = 0
    num_mostly_lost: int = 0
    similarity: float = 0.0
    switches: tuple[tuple[Switch, ...], ...] = ()
    """By clip."""

    @property
    def num_truths(self) -> int:
        """Labelled boxes."""
        return self.num_matched + self.num_missed

    def mota(self) -> float | None:
        """In per cent; may be negative; ``None`` without labels."""
        return self._share(self.num_matched - self.num_false - self.num_switches)

    def motp(self) -> float | None:
        """Mean similarity of matches, per cent."""
        return 100.0 * self.similarity / self.num_matched if self.num_matched else None

    def recall(self) -> float | None:
        """Labelled boxes found, per cent."""
        return self._share(self.num_matched)

    def precision(self) -> float | None:
        """Predicted boxes that are right, per cent."""
        predicted = self.num_matched + self.num_false
        return 100.0 * self.num_matched / predicted if predicted else None

    def _share(self, count: int) -> float | None:
        return 100.0 * count / self.num_truths if self.num_truths else None


def count_mota(clip: ClipTracks, *, min_similarity: float = MIN_SIMILARITY) -> MotaCounts:
    """Follow everybody through one clip."""
    book = _Book(clip.num_truth_ids)
    for number, frame in enumerate(clip.frames):
        book.see(number, frame.truth_ids, frame.predicted_ids, frame.similarity, min_similarity)
    return book.counts()


def add_mota(parts: Sequence[MotaCounts]) -> MotaCounts:
    """The counts of several clips together."""
    return MotaCounts(
        num_matched=sum(part.num_matched for part in parts),
        num_missed=sum(part.num_missed for part in parts),
        num_false=sum(part.num_false for part in parts),
        num_switches=sum(part.num_switches for part in parts),
        num_fragments=sum(part.num_fragments for part in parts),
        num_mostly_tracked=sum(part.num_mostly_tracked for part in parts),
        num_partly_tracked=sum(part.num_partly_tracked for part in parts),
        num_mostly_lost=sum(part.num_mostly_lost for part in parts),
        similarity=sum(part.similarity for part in parts),
        switches=tuple(clip for part in parts for clip in part.switches),
    )


class _Book:
    """Counts while a clip goes by; ``last`` (G,): the track of each person when last matched, ``current`` (G,): a frame before."""

    def __init__(self, num_truth_ids: int) -> None:
        self.num_matched, self.num_missed, self.num_false, self.similarity = 0, 0, 0, 0.0
        self.switches: list[Switch] = []
        self.last = np.full(num_truth_ids, -1, np.int64)
        self.current = np.full(num_truth_ids, -1, np.int64)
        self.num_seen, self.num_tracked, self.num_spells = (np.zeros(num_truth_ids, np.int64) for _ in range(3))

    def see(
        self, frame: int, truths: IntArray, predicted: IntArray, similarity: NDArray[np.float64], min_similarity: float
    ) -> None:
        """Count one frame."""
        self.num_seen[truths] += 1
        if len(truths) == 0 or len(predicted) == 0:
            # as TrackEval has it, a frame with nothing on one side does not interrupt anybody
            self.num_missed += len(truths)
            self.num_false += len(predicted)
            return
        goes_on = predicted[None] == self.current[truths][:, None]
        gain = np.where(similarity < min_similarity - _EPSILON, 0.0, _PREFERENCE * goes_on + similarity)
        rows, columns = linear_sum_assignment(-gain)
        is_match = gain[rows, columns] > _EPSILON
        rows, columns = rows[is_match], columns[is_match]
        people, tracks = truths[rows], predicted[columns]
        for person, track in zip(people.tolist(), tracks.tolist(), strict=True):
            if self.last[person] not in (-1, track):
                self.switches.append(Switch(frame, person, int(self.last[person]), track))
        was_lost = self.current < 0
        self.last[people] = tracks
        self.current[:] = -1
        self.current[people] = tracks
        self.num_spells += was_lost & (self.current >= 0)
        self.num_tracked[people] += 1
        self.num_matched += len(people)
        self.num_missed += len(truths) - len(people)
        self.num_false += len(predicted) - len(people)
        self.similarity += float(similarity[rows, columns].sum())

    def counts(self) -> MotaCounts:
        """All of it."""
        seen = self.num_seen > 0
        share = self.num_tracked[seen] / self.num_seen[seen]
        mostly, at_least = int((share > _MOSTLY_TRACKED).sum()), int((share >= _MOSTLY_LOST).sum())
        return MotaCounts(
            num_matched=self.num_matched,
            num_missed=self.num_missed,
            num_false=self.num_false,
            num_switches=len(self.switches),
            num_fragments=int(np.maximum(self.num_spells - 1, 0).sum()),
            num_mostly_tracked=mostly,
            num_partly_tracked=at_least - mostly,
            num_mostly_lost=len(share) - at_least,
            similarity=self.similarity,
            switches=(tuple(self.switches),),
        )
