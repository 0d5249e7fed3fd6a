"""The stages of `annotate` on a clip, each measured alone on what it was given there.

Legend: B windows in a batch, T frames of a window, P persons in a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from posecli.benchmark.clip import read_frames
from posecli.benchmark.clock import Clock, Effort
from posecli.benchmark.network_parts import HEAD, time_parts
from posecli.benchmark.rehearsal import Chunk, Rehearsal
from posecli.benchmark.subject import Subject
from posecli.encoder import normalise_images
from posecli.formats.coco import write_coco_dataset
from posecli.people.detector import Detector
from posecli.pipeline.second_pass import collect, finish_poses
from posecli.pipeline.settings import AnnotateSettings
from posecli.pose.crops import cut_window, window_transform
from posecli.pose.estimator import PoseEstimator
from posecli.pose.heads import head_transform
from posecli.pose.heatmaps import decode
from posecli.records import Annotation, ImageArray
from posecli.video.overlay import draw_poses
from posecli.video.render import poses_at
from posecli.video.sink import VideoSink
from posecli.video.source import open_source, probe

_NUM_LOOKS = 6


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage.

    Attributes:
        stage: Its name.
        ms_per_frame: For a frame of the video, with as many people as there were.
        ms_per_person_frame: For one person in one frame.
        share_percent: Of the sum of all stages, drawing and encoding an overlay left out.
        part_of: The stage that this is a part of; ``None`` for stages.
        is_optional: Whether it is only there when an overlay is asked for; such stages are not in the sum and have no share.
        ms_per_look: Detection only: for one frame looked at.
    """

    stage: str
    ms_per_frame: float
    ms_per_person_frame: float
    share_percent: float | None
    part_of: str | None = None
    is_optional: bool = False
    ms_per_look: float | None = None


@dataclass(frozen=True, slots=True)
class StageReport:
    """All stages of one clip.

    Attributes:
        clock: See `Clock`.
        video: The clip.
        num_frames: Frames measured.
        persons_per_frame: On average.
        has_made_up_person: Whether nobody was found in the clip, so that a person was put in the middle.
        batch_size: Windows that went through the network together.
        rows: The stages in order, parts below their stage.
        sum_ms_per_frame: Of all stages but the optional ones.
        sum_ms_per_person_frame: The same, for one person in one frame.
        pose_ms_per_person_frame: Cropping, network and decoding in one call of the estimator, as `annotate` makes it; may be less
            than the sum of the stages where the estimator overlaps or fuses them.
    """

    clock: str
    video: str
    num_frames: int
    persons_per_frame: float
    has_made_up_person: bool
    batch_size: int
    rows: tuple[StageRow, ...]
    sum_ms_per_frame: float
    sum_ms_per_person_frame: float
    pose_ms_per_person_frame: float


@dataclass
class StageBench:
    """Measures the stages.

    Attributes:
        video: The clip.
        rehearsal: What was found in it.
        folder: For files that stages write.
    """

    video: Path
    rehearsal: Rehearsal
    subject: Subject
    detector: Detector
    clock: Clock
    effort: Effort
    num_threads: int
    folder: Path

    def run(self, say: Callable[[str], None]) -> StageReport:
        """Measure everything; ``say`` is told what comes next."""
        costs = list(self._costs(say))
        num_frames, num_poses = len(self.rehearsal.frames), max(1, self.rehearsal.num_person_frames)
        total = sum(cost.clip_ms for cost in costs if not cost.is_optional and cost.part_of is None)
        rows = tuple(
            StageRow(
                cost.stage,
                cost.clip_ms / num_frames,
                cost.clip_ms / num_poses,
                None if cost.is_optional else 100.0 * cost.clip_ms / total,
                cost.part_of,
                cost.is_optional,
                cost.ms_per_look,
            )
            for cost in costs
        )
        say("the pose stage as a whole")
        return StageReport(
            clock=self.clock.kind,
            video=str(self.video),
            num_frames=num_frames,
            persons_per_frame=num_poses / num_frames,
            has_made_up_person=self.rehearsal.has_made_up_person,
            batch_size=self.batch_size,
            rows=rows,
            sum_ms_per_frame=total / num_frames,
            sum_ms_per_person_frame=total / num_poses,
            pose_ms_per_person_frame=self._whole_window_ms() / self.estimator.config.num_frames,
        )

    @property
    def estimator(self) -> PoseEstimator:
        """The estimator that is measured."""
        return self.subject.estimator

    @property
    def batch_size(self) -> int:
        """B: all people of the busiest window, as far as the estimator takes them at once."""
        return max(1, min(len(self.rehearsal.busiest().tracked), self.estimator.batch_size))

    def _costs(self, say: Callable[[str], None]) -> Iterator[_Cost]:
        say("decoding and detection")
        yield _Cost("decode", self._decode_ms())
        look_ms = self._look_ms()
        yield _Cost("detect", look_ms * len(self.rehearsal.chunks), ms_per_look=look_ms)
        yield _Cost("track", self._least(self.rehearsal.track))
        if any(chunk.doubtful for chunk in self.rehearsal.chunks):
            yield _Cost("poses of doubtful boxes", self._least(self._estimate_doubtful))
        say("crops and network")
        yield _Cost("crop", self._least(self._crop_all))
        yield from self._network_costs()
        if (heads := self.estimator.heads) is not None:
            yield _Cost("heads from close up", self._heads_ms(heads))
        say("journal, smoothing, files")
        yield _Cost("journal", self._least(self._journal))
        yield _Cost("mend, smooth, write", self._finish_ms())
        say("overlay")
        yield from self._overlay_costs()

    def _least(self, work: Callable[[], object]) -> float:
        return self.clock.least_ms(work, self.effort)

    def _decode_ms(self) -> float:
        count = len(self.rehearsal.frames)
        return self._least(lambda: read_frames(self.video, count, num_threads=self.num_threads))

    def _look_ms(self) -> float:
        step = max(1, len(self.rehearsal.chunks) // _NUM_LOOKS)
        keys = [chunk.key for chunk in self.rehearsal.chunks[::step]]
        return self._least(lambda: [self.detector.detect([key]) for key in keys]) / len(keys)

    def _estimate_doubtful(self) -> None:
        for chunk in self.rehearsal.chunks:
            for boxes, _ in chunk.doubtful:
                self.estimator.estimate_images([chunk.key.image] * len(boxes), list(boxes))

    def _crop_all(self) -> None:
        for chunk in self.rehearsal.chunks:
            self._crops(chunk)

    def _crops(self, chunk: Chunk) -> list[ImageArray]:
        hw = self.estimator.config.crop_hw
        return [cut_window(chunk.images, window_transform(boxes, hw)) for boxes in chunk.boxes]

    def _network_costs(self) -> Iterator[_Cost]:
        """One batch of the busiest window, counted for all windows: what is in the pictures does not matter here."""
        crops = torch.from_numpy(np.stack(self._crops(self.rehearsal.busiest())[: self.batch_size]))
        batches = self.rehearsal.num_person_windows / self.batch_size
        device, network = self.estimator.device, self.estimator.network

        def normalise() -> torch.Tensor:
            return normalise_images(crops.to(device).flatten(0, 1).permute(0, 3, 1, 2))

        yield _Cost("normalise", batches * self._least(normalise))
        images = torch.unflatten(normalise(), 0, crops.shape[:2])
        parts = time_parts(network, images, self.clock, self.effort)
        with torch.inference_mode():
            heatmaps = network(images).flatten(0, 1)
            decode_ms = self._least(lambda: decode(heatmaps, refinement=self.estimator.refinement))
        parts[(HEAD, "")] = parts.get((HEAD, ""), 0.0) + decode_ms
        for name in dict.fromkeys(name for name, _ in parts):
            label = "head and heatmap decoding" if name == HEAD else name
            inside = {kind: ms for (owner, kind), ms in parts.items() if owner == name}
            yield _Cost(label, batches * sum(inside.values()))
            if "" not in inside:
                yield from (
                    _Cost(kind, batches * ms, part_of=label)
                    for kind, ms in sorted(inside.items(), key=lambda item: -item[1])
                )

    def _heads_ms(self, heads: PoseEstimator) -> float:
        """The second look at everybody's head: cropping, network and decoding, for all windows."""
        chunk, size = self.rehearsal.busiest(), self.batch_size
        windows, boxes = [chunk.images] * size, chunk.boxes[:size]
        hw = heads.config.crop_hw
        poses = zip(*self.estimator.estimate_windows(windows, boxes), strict=True)
        found = [head_transform(points, scores, hw) for points, scores in poses]
        places = [place or window_transform(box, hw) for place, box in zip(found, boxes, strict=True)]
        return self._least(lambda: heads.estimate_crops(windows, places)) * self.rehearsal.num_person_windows / size

    def _whole_window_ms(self) -> float:
        chunk, size = self.rehearsal.busiest(), self.batch_size
        windows, boxes = [chunk.images] * size, chunk.boxes[:size]
        return self._least(lambda: self.estimator.estimate_windows(windows, boxes)) / size

    def _journal(self) -> None:
        self.rehearsal.write_journal(self.folder / "journal").remove()

    def _annotation(self) -> Annotation:
        with self.rehearsal.write_journal(self.folder / "journal") as journal:
            collected = collect(journal.chunks(), num_keypoints=self.estimator.config.num_keypoints)
            journal.remove()
        poses, _ = finish_poses(collected, self.rehearsal.track().finish(), AnnotateSettings())
        return Annotation(probe(self.video), collected.frames, poses, first_frame_index=collected.first_frame)

    def _finish_ms(self) -> float:
        """Pass 2 alone: without writing the journal and following everybody again."""

        def finish() -> None:
            collected = collect(journal.chunks(), num_keypoints=self.estimator.config.num_keypoints)
            poses, _ = finish_poses(collected, ledger, AnnotateSettings())
            done = Annotation(info, collected.frames, poses, first_frame_index=collected.first_frame)
            write_coco_dataset(done, self.folder / "poses.json", overwrite=True)

        ledger, info = self.rehearsal.track().finish(), probe(self.video)
        journal = self.rehearsal.write_journal(self.folder / "journal")
        least_ms = self._least(finish)
        journal.remove()
        return least_ms

    def _overlay_costs(self) -> Iterator[_Cost]:
        annotation, frames = self._annotation(), self.rehearsal.frames
        poses = [poses_at(annotation, frame.index) for frame in frames]

        def draw() -> list[ImageArray]:
            return [draw_poses(frame.image, drawn) for frame, drawn in zip(frames, poses, strict=True)]

        pictures = draw()
        yield _Cost("draw overlay", self._least(draw), is_optional=True)
        yield _Cost("encode overlay", self._least(lambda: self._encode(pictures)), is_optional=True)

    def _encode(self, pictures: list[ImageArray]) -> None:
        with open_source(self.video) as source:
            info = source.info
        sink = VideoSink(
            self.folder / "overlay.mp4",
            size_wh=(info.width_px, info.height_px),
            time_base=info.time_base,
            fps=info.fps,
            overwrite=True,
            num_threads=self.num_threads,
        )
        with sink:
            for frame, picture in zip(self.rehearsal.frames, pictures, strict=True):
                sink.write(picture, round(frame.time_s / info.time_base))


@dataclass(frozen=True, slots=True)
class _Cost:
    """Milliseconds of a stage for the whole clip."""

    stage: str
    clip_ms: float
    part_of: str | None = None
    is_optional: bool = False
    ms_per_look: float | None = None
