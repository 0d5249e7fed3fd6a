"""Poses in one or more labelled videos, judged together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from posecli.errors import VideoError
from posecli.evaluation.clips import Clip
from posecli.evaluation.jitter import motion_against_labels
from posecli.evaluation.judgement import BoxOrigin, KeypointReport, judge_people, labelled_people
from posecli.evaluation.matching import match_people
from posecli.evaluation.predictions import join_people
from posecli.evaluation.video_labels import VideoLabels, join_labels
from posecli.evaluation.worst_sheet import Moment, choose_worst, worst_sheet
from posecli.records import ImageArray
from posecli.video.source import open_source


@dataclass(frozen=True, slots=True)
class JudgedClips:
    """The report, the labels it is about (of all clips), and for each of their images its clip and frame."""

    report: KeypointReport
    clips: tuple[Clip, ...]
    labels: VideoLabels
    places: dict[int, tuple[int, int]]

    def worst_sheet(self, count: int) -> ImageArray:
        """The people with the lowest marks, drawn on their frames, (H, W, 3) uint8 RGB.

        Raises:
            VideoError: A video is gone or has not the frames that are labelled.
        """
        marks, truth = self.report.people, self.labels.truth
        tracks = np.concatenate([clip.labels.track_ids for clip in self.clips])
        moments = {}
        for place, row in enumerate(marks.truth_rows.tolist()):
            clip, frame = self.places[int(truth.image_ids[row])]
            moments[place] = Moment((self.clips[clip].name, int(tracks[row])), frame)
        chosen = choose_worst(marks, truth, count, moments=moments)
        return worst_sheet(chosen, marks, truth, self._pictures({person.image_id for person in chosen}))

    def _pictures(self, image_ids: set[int]) -> dict[int, ImageArray]:
        found: dict[int, ImageArray] = {}
        for number, clip in enumerate(self.clips):
            wanted = {
                self.places[image_id][1]: image_id for image_id in image_ids if self.places[image_id][0] == number
            }
            if wanted:
                found |= _read_frames(clip, wanted)
        return found


def judge_clips(clips: Sequence[Clip], *, boxes: BoxOrigin) -> JudgedClips:
    """Judge the poses of some clips together.

    Args:
        clips: At least one. With given boxes the people of each are its `labelled_people`, in order.
        boxes: Whose boxes.

    Raises:
        FormatError: The clips do not label the same keypoints, or none.
    """
    labels, offsets = join_labels([clip.labels for clip in clips])
    people = join_people([clip.people.moved(offset) for clip, offset in zip(clips, offsets, strict=True)])
    rows = labelled_people(labels.truth)
    chosen = np.arange(len(rows)) if boxes == "given" else match_people(people, labels.truth, rows)
    report = judge_people(people, labels.truth, chosen, boxes=boxes)
    places = {
        image_id + offset: (number, frame)
        for number, (clip, offset) in enumerate(zip(clips, offsets, strict=True))
        for frame, image_id in clip.labels.image_ids.items()
    }
    report = replace(report, motion=motion_against_labels(report.people, labels))
    return JudgedClips(report, tuple(clips), labels, places)


def _read_frames(clip: Clip, wanted: dict[int, int]) -> dict[int, ImageArray]:
    """Pictures by image id, of image ids by frame index."""
    found: dict[int, ImageArray] = {}
    with open_source(clip.video) as source:
        for frame in source.frames():
            if frame.index in wanted:
                found[wanted[frame.index]] = frame.image
            if len(found) == len(wanted):
                return found
    missing = min(index for index, image_id in wanted.items() if image_id not in found)
    raise VideoError(f"{clip.video}: has no frame {missing}, which is labelled")
