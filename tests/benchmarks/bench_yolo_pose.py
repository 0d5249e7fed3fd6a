"""YOLO11n-pose (ultralytics, AGPL-3.0) against posecli on pictures with one person: milliseconds a frame, in turns, one thread.

    pip install 'posecli[yolo]'
    python tests/benchmarks/bench_yolo_pose.py [--config glsmamba-s glsmamba-xs] [--size 640] [--json]

YOLO11n-pose: the module with random weights on a letterboxed picture of 640x384 (16:9, rounded up to its stride), forward pass
only; that finds everybody and their poses at once, in every frame. posecli: the network on one person's crops in clip mode, forward
pass only, plus PersonNet on a picture of 1280x720 every fifth frame, with its scaling and the merging of its two looks. Neither side
decodes video or tracks. Only ultralytics' module is used, not its `predict`; nothing is fetched or sent.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posecli.benchmark.clock import Clock
from posecli.benchmark.comparison import compare
from posecli.benchmark.machine import load_average
from posecli.benchmark.subject import Subject
from posecli.encoder import place
from posecli.errors import DeviceError
from posecli.people.detector import create_detector
from posecli.people.yolo import _quiet_import
from posecli.pipeline.allocator import keep_freed_memory
from posecli.records import Frame

YOLO, DETECTOR = "yolo11n-pose", "PersonNet, a look"
STRIDE = 32


def yolo_module() -> torch.nn.Module:
    """The network of ``yolo11n-pose.yaml`` with random weights, layers fused as for prediction.

    Raises:
        DeviceError: ultralytics is not installed, or does not start.
    """
    if importlib.util.find_spec("ultralytics") is None:
        raise DeviceError("ultralytics is not installed", hint="pip install 'posecli[yolo]'")
    try:
        with _quiet_import():
            from ultralytics.nn.tasks import PoseModel
    except Exception as error:
        raise DeviceError(f"ultralytics cannot be imported: {type(error).__name__}: {error}") from error
    module: Any = PoseModel("yolo11n-pose.yaml", verbose=False).eval().requires_grad_(False)
    fused: torch.nn.Module = module.fuse(verbose=False)
    return fused


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One JSON object."""
    yolo = yolo_module()
    torch.set_num_threads(1)
    keep_freed_memory()
    device = torch.device("cpu")
    clock = Clock("cpu", device)
    place(yolo, device)
    height = -(-arguments.size * 9 // 16 // STRIDE) * STRIDE
    picture = torch.rand(1, 3, height, arguments.size).contiguous(memory_format=torch.channels_last)
    image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    detector, frame = create_detector("embedded"), Frame(0, 0, 0.0, image)

    def timed(work: Callable[[], object], scale: float = 1.0) -> Callable[[], float]:
        def run() -> float:
            with torch.inference_mode():
                start = clock.now_s()
                work()
                return 1e3 * scale * (clock.now_s() - start)

        return run

    sides = {YOLO: timed(lambda: yolo(picture)), DETECTOR: timed(lambda: detector.detect([frame]))}
    frames = {}
    for name in arguments.config:
        subject = Subject.prepare(config=name, weights=None, device="cpu", folder=folder)
        config, network = subject.estimator.config, subject.estimator.network
        frames[name] = config.num_frames
        crops = torch.randn(1, config.num_frames, 3, *config.crop_hw)
        sides[name] = timed(lambda network=network, crops=crops: network(crops), 1 / config.num_frames)  # type: ignore[misc]
    before = load_average()
    comparison = compare(sides, rounds=arguments.rounds)
    together = {name: comparison.min_ms(name) + comparison.min_ms(DETECTOR) / frames[name] for name in frames}
    return {
        "picture_hw": [height, arguments.size],
        "load_average": [before, load_average()],
        "times": comparison.to_json(),
        "with_detection_ms": together,
        "ratios_to_yolo": {name: milliseconds / comparison.min_ms(YOLO) for name, milliseconds in together.items()},
    }


def main() -> int:
    """Print all sides and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=["glsmamba-s", "glsmamba-xs"])
    parser.add_argument("--size", type=int, default=640, help="longer side of the picture that YOLO gets, px")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = measure(arguments, Path(folder))
        except DeviceError as error:
            sys.stderr.write(f"error: {error}\n")
            return error.exit_code
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return 0
    height, width = result["picture_hw"]
    load = result["load_average"]
    sys.stdout.write(f"processor time of one thread; load average {load[0]} to {load[1]}; YOLO on {width}x{height}\n")
    for side, times in result["times"].items():
        sys.stdout.write(f"{side:20s} {times['min_ms']:7.2f} ms least, {times['median_ms']:7.2f} median\n")
    for name, ratio in result["ratios_to_yolo"].items():
        together = result["with_detection_ms"][name]
        sys.stdout.write(f"{name} and its share of detection: {together:.2f} ms a frame, {ratio:.2f} times {YOLO}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
