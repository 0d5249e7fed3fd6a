"""Labelled videos and what was predicted for them, by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posecli.errors import FormatError
from posecli.evaluation.predictions import PredictedPeople, covered_labels, people_of
from posecli.evaluation.video_labels import VideoLabels
from posecli.records import Annotation

POSES_SUFFIXES = (".poses.json", ".json")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")


@dataclass(frozen=True, slots=True)
class Clip:
    """One video: its name, where it is, who is labelled, and who was predicted in the labelled frames."""

    name: str
    video: Path
    labels: VideoLabels
    people: PredictedPeople


def clip_of(annotation: Annotation, labels: VideoLabels, *, is_raw: bool = False) -> tuple[Clip, list[str]]:
    """A clip from a poses file: only frames that it covers are judged.

    Args:
        annotation: The poses.
        labels: Of the same video.
        is_raw: See `posecli.evaluation.predictions.people_of`.

    Returns:
        The clip, and remarks: how many labelled frames were left out.

    Raises:
        FormatError: Poses and labels have no frame in common, or are of pictures of different size.
    """
    covered = covered_labels(annotation, labels)
    num_labelled, num_covered = len(labels.frame_indices), len(covered.frame_indices)
    video = annotation.video.path
    if num_covered == 0:
        last = annotation.first_frame_index + len(annotation.frames) - 1
        raise FormatError(
            f"{labels.truth.path}: no frame of {video.name}, frames {annotation.first_frame_index} to {last}, is labelled"
        )
    left_out = num_labelled - num_covered
    remarks = (
        [f"{video.name}: {left_out} of {num_labelled} labelled frames are not in the poses file"] if left_out else []
    )
    return Clip(video.stem, video, covered, people_of(annotation, covered, is_raw=is_raw)), remarks


def pair_files(annotations: Path, others: Path, suffixes: Sequence[str]) -> list[tuple[Path, Path]]:
    """Label files with what belongs to them.

    Args:
        annotations: A label file, or a folder of them.
        others: A file; or a folder where the label file ``NAME.json`` has its ``NAME`` + one of ``suffixes``.
        suffixes: The first that exists counts.

    Raises:
        FormatError: One is a folder and the other is not, there are no label files, or one of them is alone.
    """
    if not annotations.is_dir():
        return [(annotations, others)]
    if not others.is_dir():
        raise FormatError(f"{others}: not a folder, but the labels {annotations} are one")
    pairs = []
    for labels in sorted(annotations.glob("*.json")):
        if labels.name.endswith((".poses.json", ".run.json")):
            continue
        found = [path for suffix in suffixes if (path := others / f"{labels.stem}{suffix}").exists() and path != labels]
        if not found:
            wanted = " or ".join(f"{labels.stem}{suffix}" for suffix in suffixes)
            raise FormatError(f"{others}: nothing for the labels {labels.name}", hint=f"wanted is {wanted}")
        pairs.append((labels, found[0]))
    if not pairs:
        raise FormatError(f"{annotations}: no label files (.json) in this folder")
    return pairs
