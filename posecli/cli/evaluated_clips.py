"""Videos for ``posecli evaluate``: labels, and people from a poses file, in labelled boxes, or by all of ``posecli annotate``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from posecli.cli import console
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from posecli.evaluation.clips import Clip
    from posecli.evaluation.judgement import BoxOrigin
    from posecli.evaluation.video_keypoints import VideoMode
    from posecli.evaluation.video_labels import VideoLabels


@dataclass(frozen=True)
class KeypointOptions:
    """What ``posecli evaluate keypoints`` was asked, the inputs apart; ``boxes`` is given or detected."""

    boxes: BoxOrigin
    weights: str
    head_weights: str | None
    detector: str
    detector_weights: str | None
    window_mode: VideoMode
    mirror: bool
    hop: int | None
    raw: bool
    device: str
    modulo: int


def read_clips(annotations: Path, predictions: Path, *, is_raw: bool = False, modulo: int = 0) -> list[Clip]:
    """Poses files with their labels; files or folders. Remarks go to stderr."""
    from posecli.evaluation.clips import POSES_SUFFIXES, clip_of, pair_files
    from posecli.formats.coco import read_coco_dataset

    return [
        _remarked(clip_of(read_coco_dataset(poses), _labels(labels, modulo), is_raw=is_raw))
        for labels, poses in pair_files(annotations, predictions, POSES_SUFFIXES)
    ]


def estimate_clips(annotations: Path, videos: Path, chosen: KeypointOptions) -> list[Clip]:
    """Videos, the people in them estimated in their labelled boxes."""
    from posecli.evaluation.clips import VIDEO_SUFFIXES, Clip, pair_files

    pairs = [(_labels(path, chosen.modulo), video) for path, video in pair_files(annotations, videos, VIDEO_SUFFIXES)]
    from posecli.evaluation.video_keypoints import estimate_video
    from posecli.pose.estimator import PoseEstimator

    estimator = PoseEstimator.load(
        chosen.weights, head_weights=chosen.head_weights, device=chosen.device, is_mirrored=chosen.mirror
    )
    clips = []
    for labels, video in pairs:
        with console.progress("evaluate") as line:
            people = estimate_video(estimator, labels, video, mode=chosen.window_mode, hop=chosen.hop, progress=line)
        clips.append(Clip(video.stem, video, labels, people))
    return clips


def annotate_clips(annotations: Path, videos: Path, chosen: KeypointOptions) -> list[Clip]:
    """Videos, annotated in a folder that is removed afterwards; what is judged is the file as written."""
    from posecli.evaluation.clips import VIDEO_SUFFIXES, clip_of, pair_files
    from posecli.formats.coco import read_coco_dataset

    if chosen.window_mode == "still":
        raise ConfigError("--window-mode still needs --boxes given", hint="detected people are followed over windows")
    pairs = [(_labels(path, chosen.modulo), video) for path, video in pair_files(annotations, videos, VIDEO_SUFFIXES)]
    from posecli.pipeline.annotate import Outputs, annotate
    from posecli.pipeline.settings import AnnotateSettings

    settings = AnnotateSettings(
        weights=chosen.weights,
        head_weights=chosen.head_weights,
        detector=chosen.detector,
        detector_weights=chosen.detector_weights,
        mode=chosen.window_mode,
        mirror=chosen.mirror,
        hop=chosen.hop,
        device=chosen.device,
    )
    clips = []
    for labels, video in pairs:
        with tempfile.TemporaryDirectory(prefix="posecli-") as folder, console.progress("annotate") as line:
            outputs = Outputs(poses=Path(folder) / "poses.json")
            result = annotate(video, outputs, settings, progress=line.stage)
            written = read_coco_dataset(outputs.poses)
        for warning in result.warnings:
            console.warn(warning)
        clips.append(_remarked(clip_of(written, labels, is_raw=chosen.raw)))
    return clips


def _labels(path: Path, modulo: int) -> VideoLabels:
    from posecli.evaluation.video_labels import read_video_labels

    labels = read_video_labels(path)
    return labels.keep(lambda image_id, _: image_id % modulo == 0) if modulo else labels


def _remarked(found: tuple[Clip, list[str]]) -> Clip:
    clip, remarks = found
    for remark in remarks:
        console.warn(remark)
    return clip
