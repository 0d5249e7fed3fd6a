"""Rendered clips with their truth on disk: video, COCO-style and PoseTrack18 labels, a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from posecli.atomic import check_output
from posecli.errors import ConfigError, OutputError
from posecli.formats.coco import coco_category, coco_image_id
from posecli.formats.posetrack import write_posetrack
from posecli.formats.stream import write_document
from posecli.geometry import xyxy_to_xywh
from posecli.records import Annotation, FrameTable, PoseSequence
from posecli.skeletons import POSECLI19
from posecli.training.synthetic.assets import Assets
from posecli.training.synthetic.clip_scene import ClipConfig, stage_clip
from posecli.training.synthetic.degrade import degrade, random_degradation
from posecli.training.synthetic.labels import OUTSIDE, PersonTruth, frame_truth
from posecli.training.synthetic.scene import Scene, render_frame
from posecli.training.synthetic.window import STYLES
from posecli.video.sheet import contact_sheet
from posecli.video.sink import VideoSink
from posecli.video.source import probe

_MIN_AREA_PX = 12.0  # who shows less is not in the picture
_CROWD = (5, 6)


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """Paths of one clip."""

    video: Path
    labels: Path
    posetrack: Path
    sheet: Path

    @classmethod
    def in_folder(cls, folder: Path, index: int) -> ClipFiles:
        """``clip_0000.mp4``, ``.json``, ``.posetrack.json`` and ``.png``."""
        stem = f"clip_{index:04d}"
        return cls(*(folder / f"{stem}{suffix}" for suffix in (".mp4", ".json", ".posetrack.json", ".png")))

    def __iter__(self) -> Iterator[Path]:
        return iter((self.video, self.labels, self.posetrack, self.sheet))


def render_clips(
    assets: Assets,
    folder: Path,
    config: ClipConfig,
    *,
    count: int,
    crowded: int = 0,
    seed: int,
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> list[ClipFiles]:
    """Render clips into a folder.

    Clip i depends on the assets, the configuration, the seed and i only.

    Args:
        assets: What scenes are made of.
        folder: Created if missing.
        config: What every clip is like.
        count: How many.
        crowded: The last so many show five or six people.
        seed: Any number.
        overwrite: Whether clips that exist may be replaced.
        report: Called with (done, all) frames.

    Raises:
        ConfigError: The configuration makes no sense.
        OutputError: A file exists already or cannot be written.
    """
    _check(config, count, crowded)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror}") from error
    all_files = [ClipFiles.in_folder(folder, index) for index in range(count)]
    for path in (path for files in all_files for path in files):
        check_output(path, overwrite=overwrite)
    for index, files in enumerate(all_files):

        def told(done: int, before: int = index * config.num_frames) -> None:
            if report is not None:
                report(before + done, count * config.num_frames)

        people = _CROWD if index >= count - crowded else config.people
        own = replace(config, people=people)
        rng = np.random.default_rng((seed, index))
        _render_clip(assets, files, own, rng, index=index, overwrite=overwrite, report=told)
    return all_files


def _check(config: ClipConfig, count: int, crowded: int) -> None:
    least, most = config.people
    if not 1 <= least <= most <= 20:
        raise ConfigError(f"people {least}..{most}: between 1 and 20, fewest first")
    if min(config.size_wh) < 64 or config.seconds <= 0 or not 1 <= config.fps <= 240:
        raise ConfigError(
            f"clip of {config.size_wh[0]}x{config.size_wh[1]} px, {config.seconds:g} s, {config.fps:g} frames a second",
            hint="at least 64 px, more than 0 s, 1 to 240 frames a second",
        )
    if not 0 <= crowded <= count:
        raise ConfigError(f"{crowded} crowded clips of {count}")


def _render_clip(
    assets: Assets,
    files: ClipFiles,
    config: ClipConfig,
    rng: np.random.Generator,
    *,
    index: int,
    overwrite: bool,
    report: Callable[[int], None],
) -> None:
    scene = stage_clip(assets, config, rng)
    fps = Fraction(config.fps).limit_denominator(1001)
    truths: list[list[PersonTruth]] = []
    crf = int(rng.integers(18, 31))
    with VideoSink(
        files.video, size_wh=config.size_wh, time_base=1 / fps, fps=fps, crf=crf, overwrite=overwrite, num_threads=1
    ) as sink:
        for frame in range(config.num_frames):
            rendered = render_frame(scene, frame)
            truths.append(frame_truth(scene, frame, rendered))
            if frame == 0:
                person_px = _person_px(truths[0], config)
                style = STYLES["hard" if config.is_hard else "usual"]
                how = random_degradation(
                    rng,
                    person_px=person_px,
                    brightness=float(rendered.image.mean()),
                    dark=style.dark,
                    soft=style.soft,
                    allow_video=False,
                )
            sink.write(degrade([rendered.image], how, rng)[0], frame)
            report(frame + 1)
    annotation = _annotation(files.video, truths, fps)
    _write_labels(files, scene, truths, config, overwrite=overwrite)
    write_posetrack(annotation, files.posetrack, sequence=f"{index:06d}_mpii_synth", overwrite=overwrite)
    contact_sheet(annotation, files.sheet, num_frames=9, columns=3, overwrite=overwrite)


def _person_px(people: list[PersonTruth], config: ClipConfig) -> float:
    sizes = [float((person.box[2:] - person.box[:2]).max()) for person in people if person.box is not None]
    return float(np.median(sizes)) if sizes else config.size_wh[1] / 2


def _is_shown(person: PersonTruth) -> bool:
    return person.box is not None and person.area_px >= _MIN_AREA_PX


def _write_labels(
    files: ClipFiles, scene: Scene, truths: list[list[PersonTruth]], config: ClipConfig, *, overwrite: bool
) -> None:
    width, height = config.size_wh
    images = (
        {
            "id": coco_image_id(frame),
            "file_name": f"{files.video.stem}/frame_{frame:06d}.jpg",
            "frame_index": frame,
            "width": width,
            "height": height,
        }
        for frame in range(len(truths))
    )
    rows = (
        (frame, track, person) for frame, people in enumerate(truths) for track, person in enumerate(people, start=1)
    )
    shown = (row for row in rows if _is_shown(row[2]))
    head = {
        "info": {
            "description": f"{files.video.name}, rendered by posecli synth: exact. v: 2 seen, 1 hidden, 0 outside the picture",
            "video": files.video.name,
            "fps": config.fps,
            "avatars": [actor.avatar.name for actor in scene.actors],
            "poses": [actor.kind for actor in scene.actors],
        },
        "categories": [coco_category(POSECLI19)],
    }
    annotations = (_encode(i, *row) for i, row in enumerate(shown, start=1))
    write_document(files.labels, head, {"images": images, "annotations": annotations}, overwrite=overwrite)


def _encode(row_id: int, frame: int, track_id: int, person: PersonTruth) -> dict[str, Any]:
    assert person.box is not None  # those without are not shown
    xyv = np.column_stack([person.keypoints.astype(np.float64).round(2), person.visibility])
    xyv[person.visibility == OUTSIDE] = 0
    flags = xyv[:, 2].astype(int).tolist()
    return {
        "id": row_id,
        "image_id": coco_image_id(frame),
        "category_id": 1,
        "track_id": track_id,
        "iscrowd": 0,
        "bbox": xyxy_to_xywh(person.box).astype(np.float64).round(2).tolist(),
        "area": round(person.area_px, 2),
        "num_keypoints": int((person.visibility != OUTSIDE).sum()),
        "keypoints": [value for (x, y), v in zip(xyv[:, :2].tolist(), flags, strict=True) for value in (x, y, v)],
        "keypoints_3d_mm": person.points_mm.astype(np.float64).round(1).tolist(),
    }


def _annotation(video: Path, truths: list[list[PersonTruth]], fps: Fraction) -> Annotation:
    """The truth as if somebody had predicted it: score 1 for every point in the picture, seen or hidden."""
    count = len(truths)
    info = probe(video)
    ticks = round(1 / (fps * info.time_base))
    frames = FrameTable(np.arange(count) * ticks, np.arange(count) / float(fps), np.zeros(count, np.bool_))
    num_people = max((len(people) for people in truths), default=0)
    poses = [_sequence(track, [people[track - 1] for people in truths]) for track in range(1, num_people + 1)]
    return Annotation(info, frames, tuple(pose for pose in poses if len(pose)), {}, 0)


def _sequence(track_id: int, people: list[PersonTruth]) -> PoseSequence:
    rows = [frame for frame, person in enumerate(people) if _is_shown(person)]
    shown = [people[frame] for frame in rows]
    inside = np.array([person.visibility != OUTSIDE for person in shown], np.bool_).reshape(-1, len(POSECLI19))
    points = np.array([person.keypoints for person in shown], np.float32).reshape(-1, len(POSECLI19), 2)
    points = np.where(inside[..., None], points, np.float32(np.nan))
    boxes = np.array([person.box for person in shown], np.float32).reshape(-1, 4)
    return PoseSequence(
        track_id=track_id,
        skeleton=POSECLI19.name,
        frame_indices=np.array(rows, np.int64),
        keypoints=points,
        raw_keypoints=points,
        scores=inside.astype(np.float32),
        boxes=boxes,
        box_scores=np.ones(len(rows), np.float32),
        interpolated=np.zeros(len(rows), np.bool_),
    )
