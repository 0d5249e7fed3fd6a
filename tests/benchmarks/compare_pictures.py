"""Frames of videos side by side, posecli's poses on the left, MediaPipe Pose's (full, 0.10.21) on the right, as one PNG.

MediaPipe needs numpy below 2, so it lives in an environment of its own and is fed frames through a pipe; the PNG is written by Pillow,
which comes with the extra ``bench``:

    python -m venv /tmp/mediapipe && /tmp/mediapipe/bin/pip install mediapipe==0.10.21
    python tests/benchmarks/compare_pictures.py walk.mp4:40% pair.mp4:40%:2 --out picture.png --mediapipe /tmp/mediapipe/bin/python

A frame is VIDEO:FRAME or VIDEO:FRAME:PEOPLE; FRAME is a number or, with %, a place in the video; PEOPLE is how many MediaPipe is told
to look for (its own default is 1; posecli is never told). posecli annotates the whole video with its default settings. MediaPipe's
PoseLandmarker runs in video mode, with default thresholds, over every frame up to the chosen one, so that its tracking is warm, on
the same decoded pixels. Its package brings both networks but not the bundle they are usually fetched in: the bundle is put together
here. With ``--mediapipe-boxes ours`` it is given a crop around each of posecli's boxes instead, as a still picture.

Both are drawn by posecli's overlay, the 17 points of COCO, without boxes and ids. Points below a score of 0.3 (posecli) or a
visibility of 0.5 (MediaPipe) are left out: the limits of each one's own drawing. Both columns show the same part of the frame, that
where either drew a point.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # MediaPipe's environment has no posecli
    from posecli.records import Annotation, Frame
    from posecli.video.overlay import DrawnPose
    from tests.benchmarks.mediapipe_process import LANDMARKS, MediaPipeProcess, answer_json, answers
else:
    from mediapipe_process import LANDMARKS, MediaPipeProcess, answer_json, answers

MIN_SCORES = (0.3, 0.5)  # posecli, MediaPipe
ASPECT = 1.5
VIEW_ENLARGE = 1.3  # the head reaches above the eyes, hands beyond wrists
LEAST_VIEW = 0.4  # of the frame's shorter side: a small mistake is not blown up
CROP_ENLARGE = 1.5  # as in bench_mediapipe.py
GAP_PX = 6
BACKGROUND = 32
WIDEST_PX, NARROWEST_PX = 1600, 400


def bundle() -> bytes:
    """PoseLandmarker's model file, from the networks in MediaPipe's package and the value ranges its own graphs feed them."""
    import mediapipe  # type: ignore[import-not-found, unused-ignore]
    from mediapipe.tasks.python.metadata.metadata_writers.metadata_writer import (  # type: ignore[import-not-found, unused-ignore]
        MetadataWriter,
    )

    folder, content = Path(mediapipe.__file__).parent / "modules", io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, path, mean, std in (
            ("pose_detector", "pose_detection/pose_detection", 127.5, 127.5),
            ("pose_landmarks_detector", "pose_landmark/pose_landmark_full", 0.0, 255.0),
        ):
            writer = MetadataWriter.create(bytearray((folder / f"{path}.tflite").read_bytes()))
            writer.add_general_info(name).add_image_input([mean], [std])
            archive.writestr(f"{name}.tflite", bytes(writer.populate()[0]))
    return content.getvalue()


def video_mode(num_people: int) -> Callable[[Any, int], list[Any]]:
    """People in a picture (H, W, 3) RGB at a time in ms, tracked from picture to picture."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision  # type: ignore[import-not-found, unused-ignore]

    options = vision.PoseLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=bundle()),
        running_mode=vision.RunningMode.VIDEO,
        num_poses=num_people,
    )
    landmarker = vision.PoseLandmarker.create_from_options(options)

    def find(picture: Any, time_ms: int) -> list[Any]:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=picture)
        return list(landmarker.detect_for_video(image, time_ms).pose_landmarks)

    return find


def still_mode() -> Callable[[Any, int], list[Any]]:
    """The person in a crop."""
    import mediapipe

    pose = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1)

    def find(picture: Any, time_ms: int) -> list[Any]:
        found = pose.process(picture).pose_landmarks
        return [] if found is None else [found.landmark]

    return find


def serve(num_people: int) -> None:
    """The other environment: a line with size and time and the pixels on stdin, a line with people (P, 17, 3) x, y px, visibility out.

    Without a number of people, pictures are crops around one.
    """
    stream = answers()
    import mediapipe

    find = video_mode(num_people) if num_people else still_mode()
    answer_json(stream, mediapipe.__version__)
    while header := sys.stdin.buffer.readline():
        height, width, time_ms = json.loads(header)
        pixels = sys.stdin.buffer.read(height * width * 3)
        people = find(np.frombuffer(pixels, np.uint8).reshape(height, width, 3), time_ms)
        chosen = [[person[i] for i in LANDMARKS] for person in people]
        # MediaPipe counts from the edge of the picture, posecli from the centre of the first pixel
        points = [[(p.x * width - 0.5, p.y * height - 0.5, p.visibility) for p in person] for person in chosen]
        answer_json(stream, points)


class MediaPipe(MediaPipeProcess):
    """MediaPipe in its own process; see `serve`. 0 people: for crops around one."""

    def __init__(self, python: Path, num_people: int) -> None:
        super().__init__(python, __file__, num_people)
        self.version: str = self.read_json()

    def find(self, picture: Any, *, time_ms: int = 0) -> list[Any]:
        """People (17, 3) in a picture: x, y px and visibility."""
        self.send(json.dumps([*picture.shape[:2], time_ms]).encode() + b"\n" + picture.tobytes())
        return [np.array(person) for person in self.read_json()]


@dataclass(frozen=True)
class Choice:
    """A frame to show: its number, or per cent of the way through the video."""

    video: Path
    frame: int
    is_percent: bool
    num_people: int

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Read VIDEO:FRAME[%][:PEOPLE]."""
        match = re.fullmatch(r"(.+?):(\d+)(%?)(?::(\d+))?", text)
        if match is None or (match[3] and int(match[2]) > 100) or match[4] == "0":
            raise argparse.ArgumentTypeError(f"{text!r} is not VIDEO:FRAME, VIDEO:40% or VIDEO:FRAME:PEOPLE")
        return cls(Path(match[1]), int(match[2]), bool(match[3]), int(match[4] or 1))

    def index(self, num_frames: int) -> int:
        """The frame's number in a video of so many frames."""
        index = round(self.frame / 100 * (num_frames - 1)) if self.is_percent else self.frame
        if index >= num_frames:
            raise SystemExit(f"{self.video} has no frame {index}, only {num_frames} frames")
        return index


@dataclass(frozen=True)
class Row:
    """One frame with the poses of both, and what is said about it."""

    image: Any
    sides: tuple[list[DrawnPose], list[DrawnPose]]
    notes: tuple[str, str]


def annotated(video: Path, weights: str) -> Annotation:
    """posecli's result of a whole video."""
    from posecli.pipeline.annotate import Outputs, annotate
    from posecli.pipeline.settings import AnnotateSettings

    with tempfile.TemporaryDirectory() as folder:
        return annotate(video, Outputs(Path(folder) / "poses.json"), AnnotateSettings(weights=weights)).annotation


def as_coco(pose: DrawnPose) -> DrawnPose:
    """A pose of posecli's as it is shown: without the points that COCO has not, and without those it is not sure of."""
    from posecli.skeletons import COCO17, convert_keypoints

    keypoints, scores = convert_keypoints(pose.keypoints, pose.scores, pose.skeleton, COCO17)
    return shown(replace(pose, keypoints=keypoints, scores=scores, skeleton=COCO17, box=None), MIN_SCORES[0])


def drawn(people: Sequence[Any]) -> list[DrawnPose]:
    """MediaPipe's people (17, 3) as they are shown."""
    from posecli.skeletons import COCO17
    from posecli.video.overlay import DrawnPose

    points = [np.asarray(person, np.float32) for person in people]
    poses = [DrawnPose(k, person[:, :2], person[:, 2], None, COCO17) for k, person in enumerate(points)]
    return [shown(pose, MIN_SCORES[1]) for pose in poses]


def shown(pose: DrawnPose, min_score: float) -> DrawnPose:
    """A pose without its unsure points: they would widen its lines, which go by the extent of a person."""
    keypoints = np.where(pose.scores[:, None] >= min_score, pose.keypoints, np.float32(np.nan))
    return replace(pose, keypoints=keypoints)


def followed(mediapipe: MediaPipe, frames: Iterable[Frame]) -> list[Any]:
    """What MediaPipe finds in the last of some frames, having seen those before it."""
    people: list[Any] = []
    for frame in frames:
        people = mediapipe.find(frame.image, time_ms=round(1000 * frame.time_s))
    return people


def in_boxes(mediapipe: MediaPipe, image: Any, boxes: Sequence[Any]) -> list[Any]:
    """What MediaPipe finds in crops around boxes."""
    import cv2

    from posecli.geometry import CropTransform

    people = []
    for box in boxes:
        side = max(64, round(float((box[2:] - box[:2]).max()) * CROP_ENLARGE))
        crop = CropTransform.from_box(box, (side, side), enlarge=CROP_ENLARGE)
        pixels = cv2.warpAffine(image, crop.matrix, crop.size_wh, borderMode=cv2.BORDER_REPLICATE)
        found = mediapipe.find(pixels)
        people += [np.concatenate([crop.to_frame(person[:, :2]), person[:, 2:]], axis=1) for person in found]
    return people


def compare(choice: Choice, annotation: Annotation, python: Path, *, is_given_boxes: bool) -> tuple[Row, str]:
    """One frame, seen by both; and MediaPipe's version."""
    from posecli.video.render import poses_at
    from posecli.video.source import open_source

    index = choice.index(len(annotation.frames))
    poses = poses_at(annotation, index)
    with open_source(choice.video) as source:
        (frame,) = itertools.islice(source.frames(), index, index + 1)
    with (
        MediaPipe(python, 0 if is_given_boxes else choice.num_people) as mediapipe,
        open_source(choice.video) as source,
    ):
        if is_given_boxes:
            people = in_boxes(mediapipe, frame.image, [pose.box for pose in poses if pose.box is not None])
        else:
            people = followed(mediapipe, itertools.islice(source.frames(), index + 1))
    is_told = choice.num_people > 1 and not is_given_boxes
    notes = (f"{choice.video.stem}, frame {index}", f"told to find {choice.num_people}" if is_told else "")
    return Row(frame.image, ([as_coco(pose) for pose in poses], drawn(people)), notes), mediapipe.version


def view_of(points: Any, size_wh: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture to show, (left, top, right, bottom): all points, some room around them, a cell's shape if it can be."""
    size = np.array(size_wh, float)
    if not len(points):
        return (0, 0, *size_wh)
    points = np.clip(points, 0, size - 1)
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = np.maximum(VIEW_ENLARGE * (high - low), LEAST_VIEW * size.min())
    span = np.minimum([max(width, height * ASPECT), max(height, width / ASPECT)], size)
    start = np.clip((low + high) / 2 - span / 2, 0, size - span)
    left, top, right, bottom = (round(float(edge)) for edge in (*start, *(start + span)))
    return left, top, right, bottom


def shown_points(row: Row) -> Any:
    """(N, 2) px: what either side draws."""
    points = [np.zeros((0, 2), np.float32), *(pose.keypoints for poses in row.sides for pose in poses)]
    return np.concatenate([found[np.isfinite(found).all(axis=1)] for found in points])


def cut(image: Any, poses: Sequence[DrawnPose], view: tuple[int, int, int, int], size_wh: tuple[int, int]) -> Any:
    """A part of a picture and the poses on it, as large as a cell allows: (picture, poses)."""
    import cv2

    left, top, right, bottom = view
    part = image[top:bottom, left:right]
    factor = min(size_wh[0] / (right - left), size_wh[1] / (bottom - top))
    part_wh = (max(round((right - left) * factor), 1), max(round((bottom - top) * factor), 1))
    scale, origin = np.array(part_wh) / (right - left, bottom - top), np.array([left, top])
    small = cv2.resize(part, part_wh, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    # pixel edges fall on pixel edges: hence the half pixels
    moved = [
        replace(pose, keypoints=((pose.keypoints - origin + 0.5) * scale - 0.5).astype(np.float32)) for pose in poses
    ]
    return small, moved


def compose(rows: Sequence[Row], captions: tuple[str, str], width_px: int) -> Any:
    """The whole picture (H, W, 3) RGB: a row a frame, below them a line that says who is who."""
    from posecli.video.overlay import OverlayStyle, draw_poses, draw_text

    style = OverlayStyle(has_boxes=False, has_labels=False)
    cell_w = (width_px - GAP_PX) // 2
    cell_h, text_px = round(cell_w / ASPECT), max(width_px / 80, 9)
    bar_h = round(3 * text_px)
    height = len(rows) * (cell_h + GAP_PX) + bar_h
    sheet = np.full((height, 2 * cell_w + GAP_PX, 3), BACKGROUND, np.uint8)
    for r, row in enumerate(rows):
        view = view_of(shown_points(row), row.image.shape[1::-1])
        for side, (poses, least) in enumerate(zip(row.sides, MIN_SCORES, strict=True)):
            small, moved = cut(row.image, poses, view, (cell_w, cell_h))
            part = draw_poses(small, moved, style=style, min_score=least)
            if row.notes[side]:
                draw_text(part, row.notes[side], (0, part.shape[0] - 1), text_px=0.8 * text_px, background=(0, 0, 0))
            left, top = side * (cell_w + GAP_PX), r * (cell_h + GAP_PX)
            cell = sheet[top : top + cell_h, left : left + cell_w]
            y, x = (cell_h - part.shape[0]) // 2, (cell_w - part.shape[1]) // 2
            cell[y : y + part.shape[0], x : x + part.shape[1]] = part
    for side, caption in enumerate(captions):
        bar = sheet[-bar_h:, side * (cell_w + GAP_PX) :]
        draw_text(bar, caption, (text_px, 0.9 * bar_h), text_px=text_px, background=(BACKGROUND,) * 3)
    return sheet


def encoded(picture: Any) -> bytes:
    """A PNG of 256 colours."""
    from PIL import Image

    content, image = io.BytesIO(), Image.fromarray(picture)
    palette = image.quantize(256)  # only with a palette given does it dither
    image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(content, "PNG", optimize=True)
    return content.getvalue()


def largest_fitting(make: Callable[[int], bytes], max_bytes: int) -> tuple[bytes, int]:
    """The widest file that is not too large, and its width."""
    width_px = WIDEST_PX
    while len(content := make(width_px)) > max_bytes:
        # bytes go with the area
        width_px = min(round(width_px * (max_bytes / len(content)) ** 0.5), round(0.97 * width_px))
        if width_px < NARROWEST_PX:
            raise SystemExit(f"{max_bytes} bytes are too few for a picture of {NARROWEST_PX} px")
    return content, width_px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Choice.parse, nargs="+", metavar="VIDEO:FRAME[:PEOPLE]")
    parser.add_argument("--out", type=Path, required=True, help="a PNG; replaced where it exists")
    parser.add_argument("--mediapipe", type=Path, required=True, help="interpreter of the environment with mediapipe")
    parser.add_argument("--mediapipe-boxes", choices=("none", "ours"), default="none", help="whose boxes it is given")
    parser.add_argument("--weights", default="glsmamba-m", help="posecli's, a name or a file")
    parser.add_argument("--max-kilobytes", type=int, default=900, help="the picture is made as small as this asks")
    arguments = parser.parse_args()
    annotations: dict[Path, Annotation] = {}
    rows, version = [], ""
    for choice in arguments.frames:
        if choice.video not in annotations:
            annotations[choice.video] = annotated(choice.video, arguments.weights)
        row, version = compare(
            choice, annotations[choice.video], arguments.mediapipe, is_given_boxes=arguments.mediapipe_boxes == "ours"
        )
        rows.append(row)
    theirs = f"MediaPipe Pose full {version}" + (", in posecli's boxes" if arguments.mediapipe_boxes == "ours" else "")
    captions = (f"posecli, {Path(arguments.weights).stem}", theirs)
    content, width_px = largest_fitting(
        lambda width_px: encoded(compose(rows, captions, width_px)), 1000 * arguments.max_kilobytes
    )
    arguments.out.write_bytes(content)
    sys.stdout.write(f"{arguments.out}: {len(rows)} frames, {width_px} px wide, {len(content) / 1000:.0f} KB\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(int(sys.argv[2]))
    else:
        main()
