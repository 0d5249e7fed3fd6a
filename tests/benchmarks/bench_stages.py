"""CPU time of one person-frame of pose estimation and one frame of detection, one thread, with the embedded weights.

Processor time of this process, the least of several runs: on a shared machine the clock on the wall says more about the neighbours.
Run: python tests/benchmarks/bench_stages.py
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from posecli.people.detector import create_detector
from posecli.pipeline.allocator import keep_freed_memory
from posecli.pose.estimator import PoseEstimator
from posecli.video.source import open_source

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "rendered_people.mp4"
BOX = np.array([380.0, 150.0, 480.0, 380.0], np.float32)


def least_ms(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of several runs, after two to warm up."""
    for _ in range(2):
        work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def main() -> None:
    """Print one line a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="glsmamba-s")
    parser.add_argument("--detector-weights", default=None)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as `posecli annotate` does
    with open_source(EXAMPLE) as source:
        frames = [frame for frame, _ in zip(source.frames(), range(5), strict=False)]
    images = [frame.image for frame in frames]
    estimator = PoseEstimator.load(arguments.weights)
    num_frames = estimator.config.num_frames
    boxes = np.tile(BOX, (num_frames, 1))

    def pose(mode: str) -> float:
        return least_ms(lambda: estimator.estimate_windows([images], [boxes], mode=mode), arguments.repeats)  # type: ignore[arg-type]

    detector = create_detector("embedded", weights=arguments.detector_weights)
    crops = torch.randn(num_frames, 3, *estimator.config.crop_hw).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        encode = least_ms(lambda: estimator.network.encoder(crops), arguments.repeats)
    rows = {
        "pose, clip mode, a person-frame": pose("clip") / num_frames,
        "  of which the encoder": encode / num_frames,
        "pose, key mode, a person-frame": pose("key"),
        "detection, a frame": least_ms(lambda: detector.detect(frames[:1]), arguments.repeats),
    }
    for name, milliseconds in rows.items():
        sys.stdout.write(f"{name:36s} {milliseconds:7.2f} ms of one core\n")


if __name__ == "__main__":
    main()
