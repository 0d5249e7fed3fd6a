"""MediaPipe Pose (full, 0.10.21, static pictures) judged by posecli's own metrics, on labelled people in their given boxes.

MediaPipe needs numpy below 2, so it lives in an environment of its own and is fed crops through a pipe:

    python -m venv /tmp/mediapipe && /tmp/mediapipe/bin/pip install mediapipe==0.10.21
    python tests/benchmarks/bench_mediapipe.py LABELS.json IMAGES_DIR --python /tmp/mediapipe/bin/python

It predicts COCO's 17 points; neck and head_top stay unpredicted and count as missed under ``all``, so compare ``limb`` where labels
have them. Not collected by pytest: it needs that environment.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.benchmarks.mediapipe_process import LANDMARKS, MediaPipeProcess, answers
else:
    from mediapipe_process import LANDMARKS, MediaPipeProcess, answers

NO_PERSON = np.full((len(LANDMARKS), 3), np.nan)


def serve() -> None:
    """The other environment: side and pixels (S, S, 3) RGB in on stdin, (17, 3) x, y px and visibility out on stdout."""
    stream = answers()
    import mediapipe  # type: ignore[import-not-found, unused-ignore]

    pose = mediapipe.solutions.pose.Pose(static_image_mode=True, model_complexity=1)
    while header := sys.stdin.buffer.read(4):
        side = int.from_bytes(header, "little")
        crop = np.frombuffer(sys.stdin.buffer.read(side * side * 3), np.uint8).reshape(side, side, 3)
        found = pose.process(crop).pose_landmarks
        points = NO_PERSON
        if found is not None:
            chosen = [found.landmark[i] for i in LANDMARKS]
            points = np.array([[p.x * side - 0.5, p.y * side - 0.5, p.visibility] for p in chosen])
        stream.write(points.tobytes())
        stream.flush()


class MediaPipeEstimator(MediaPipeProcess):
    """Poses by MediaPipe in its own process; see `serve`."""

    def __init__(self, python: Path, *, enlarge: float, size_px: int) -> None:
        super().__init__(python, __file__)
        self.enlarge, self.size_px = enlarge, size_px
        self.seconds, self.num_persons, self.num_empty = 0.0, 0, 0

    def estimate_images(self, images, boxes):
        """See `posecli.evaluation.keypoints.ImagePoseEstimator`."""
        results = [self._estimate(image, box) for image, box in zip(images, boxes, strict=True)]
        missing = np.full((len(results), 2, 3), np.nan)
        points = np.concatenate([np.array(results), missing], axis=1)
        return points[..., :2].astype(np.float32), np.nan_to_num(points[..., 2]).astype(np.float32)

    def _estimate(self, image, box):
        import cv2

        from posecli.geometry import CropTransform

        side = self.size_px or max(64, round(float((box[2:] - box[:2]).max()) * self.enlarge))
        crop = CropTransform.from_box(box, (side, side), enlarge=self.enlarge)
        pixels = cv2.warpAffine(image, crop.matrix, crop.size_wh, borderMode=cv2.BORDER_REPLICATE)
        start = time.perf_counter()
        points = self._ask(pixels)
        self.seconds += time.perf_counter() - start
        self.num_persons += 1
        self.num_empty += int(np.isnan(points).all())
        return np.concatenate([crop.to_frame(points[:, :2]), points[:, 2:]], axis=1)

    def _ask(self, pixels):
        self.send(len(pixels).to_bytes(4, "little") + pixels.tobytes())
        return np.frombuffer(self.read(NO_PERSON.nbytes)).reshape(NO_PERSON.shape)


def main() -> None:
    """Print the report as JSON."""
    from posecli.evaluation.keypoints import evaluate_keypoints
    from posecli.formats.ground_truth import read_ground_truth

    parser = argparse.ArgumentParser(description="MediaPipe Pose judged by posecli's metrics")
    parser.add_argument("labels", type=Path)
    parser.add_argument("images_dir", type=Path)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the environment with mediapipe")
    parser.add_argument("--enlarge", type=float, default=1.5, help="crop side over the box's longer side")
    parser.add_argument("--size", type=int, default=256, help="crop side in px; 0: as large as in the picture")
    arguments = parser.parse_args()
    with MediaPipeEstimator(arguments.python, enlarge=arguments.enlarge, size_px=arguments.size) as estimator:
        report = evaluate_keypoints(estimator, read_ground_truth(arguments.labels), arguments.images_dir)
    facts = {
        "milliseconds_per_person": round(1000 * estimator.seconds / estimator.num_persons, 1),
        "nothing_found": estimator.num_empty,
        **report.to_json(),
    }
    sys.stdout.write(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
