"""How well people are followed: HOTA, IDF1 and MOTA, by their boxes and, where keypoints are labelled, by their poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posecli.evaluation.clip_tracks import ClipTracks, Criterion, clip_tracks
from posecli.evaluation.clips import Clip
from posecli.evaluation.hota import HotaCounts, add_hota, count_hota
from posecli.evaluation.idf1 import IdentityCounts, add_identities, count_identities
from posecli.evaluation.mota import MotaCounts, add_mota, count_mota


@dataclass(frozen=True, slots=True)
class TrackingScores:
    """All metrics under one criterion, in per cent; ``None`` without labels."""

    mota: MotaCounts
    identity: IdentityCounts
    hota: HotaCounts
    switches: tuple[dict[str, Any], ...]

    def percentages(self) -> dict[str, float | None]:
        """By name, the most telling first."""
        return {
            "hota": self.hota.hota(),
            "det_a": self.hota.det_a(),
            "ass_a": self.hota.ass_a(),
            "loc_a": self.hota.loc_a(),
            "idf1": self.identity.idf1(),
            "id_recall": self.identity.recall(),
            "id_precision": self.identity.precision(),
            "mota": self.mota.mota(),
            "motp": self.mota.motp(),
            "recall": self.mota.recall(),
            "precision": self.mota.precision(),
        }

    def counts(self) -> dict[str, int]:
        """By name."""
        return {
            "id_switches": self.mota.num_switches,
            "fragmentations": self.mota.num_fragments,
            "matched": self.mota.num_matched,
            "missed": self.mota.num_missed,
            "false": self.mota.num_false,
            "mostly_tracked": self.mota.num_mostly_tracked,
            "partly_tracked": self.mota.num_partly_tracked,
            "mostly_lost": self.mota.num_mostly_lost,
        }


@dataclass(frozen=True, slots=True)
class TrackingReport:
    """Scores by criterion: ``box``, and ``oks`` when keypoints are labelled."""

    scores: dict[Criterion, TrackingScores]
    num_clips: int
    num_frames: int
    num_people: int
    num_tracks: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object; ``switches`` lists every id switch by clip, frame of the video and track ids of the files."""
        return {
            **{
                criterion: {**scores.percentages(), **scores.counts(), "switches": list(scores.switches)}
                for criterion, scores in self.scores.items()
            },
            "num_clips": self.num_clips,
            "num_frames": self.num_frames,
            "num_people": self.num_people,
            "num_tracks": self.num_tracks,
        }

    def rows(self) -> list[tuple[str, list[float | int | None]]]:
        """Name, then one number by criterion."""
        found = [{**scores.percentages(), **scores.counts()} for scores in self.scores.values()]
        return [(name, [numbers[name] for numbers in found]) for name in found[0]]


def evaluate_tracking(clips: Sequence[Clip]) -> TrackingReport:
    """Judge the tracks of some clips together.

    Args:
        clips: At least one.

    Raises:
        FormatError: A labelled person has no track.
    """
    has_poses = all(clip.labels.truth.has_keypoints.any() for clip in clips)
    criteria: tuple[Criterion, ...] = ("box", "oks") if has_poses else ("box",)
    by_box = [clip_tracks(clip.people, clip.labels, criterion="box") for clip in clips]
    return TrackingReport(
        scores={criterion: _scores(clips, criterion) for criterion in criteria},
        num_clips=len(clips),
        num_frames=sum(len(tracks.frames) for tracks in by_box),
        num_people=sum(tracks.num_truth_ids for tracks in by_box),
        num_tracks=sum(tracks.num_predicted_ids for tracks in by_box),
    )


def _scores(clips: Sequence[Clip], criterion: Criterion) -> TrackingScores:
    tracks = [clip_tracks(clip.people, clip.labels, criterion=criterion) for clip in clips]
    return score_tracks([clip.name for clip in clips], tracks)


def score_tracks(names: Sequence[str], clips: Sequence[ClipTracks]) -> TrackingScores:
    """All metrics of clips with their names."""
    mota = add_mota([count_mota(clip) for clip in clips])
    return TrackingScores(
        mota=mota,
        identity=add_identities([count_identities(clip) for clip in clips]),
        hota=add_hota([count_hota(clip) for clip in clips]),
        switches=tuple(
            {
                "clip": name,
                "frame_index": int(clip.frame_indices[switch.frame]),
                "person": int(clip.truth_names[switch.truth_id]),
                "from_track": int(clip.predicted_names[switch.from_id]),
                "to_track": int(clip.predicted_names[switch.to_id]),
            }
            for name, clip, switches in zip(names, clips, mota.switches, strict=True)
            for switch in switches
        ),
    )
