"""MediaPipe Pose (full, 0.10.21, video mode) and posecli on the same frames of the same video, in turns, on one and the same core.

MediaPipe needs numpy below 2, so it lives in an environment of its own; both sides count the processor time of their own process:

    python -m venv /tmp/mediapipe && /tmp/mediapipe/bin/pip install mediapipe==0.10.21
    python tests/benchmarks/bench_mediapipe_speed.py VIDEO --python /tmp/mediapipe/bin/python --config glsmamba-{m,s,xs}

MediaPipe: one call of ``process`` a frame, the person being tracked (it looks for people again only where it lost the one it had).
posecli, pose stage: crops, network and heatmap decoding of one person in clip mode. posecli, whole: `annotate`, from reading the file
to writing the poses, everybody in the picture, loading of weights left out. Configs without trained weights run with random ones.
Exit code 1 where a config misses its goal.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.benchmarks.mediapipe_process import MediaPipeProcess, answer_json, answers
else:
    from mediapipe_process import MediaPipeProcess, answer_json, answers

GOALS = {"glsmamba-s": 1.5, "glsmamba-xs": 0.8}
MEDIAPIPE = "mediapipe"
LEAD_IN = 5  # frames at the start of a round that do not count: the person is looked for


def serve(video: str, num_frames: int) -> None:
    """The other environment: reads lines on stdin, answers each with a round's ms a frame and how many frames had a person."""
    stream = answers()
    import cv2
    import mediapipe  # type: ignore[import-not-found, unused-ignore]

    capture, frames = cv2.VideoCapture(video), list[Any]()
    start = time.process_time()
    while len(frames) < num_frames and (decoded := capture.read())[0]:
        frames.append(cv2.cvtColor(decoded[1], cv2.COLOR_BGR2RGB))
    decode_ms = 1e3 * (time.process_time() - start) / len(frames)
    pose = mediapipe.solutions.pose.Pose(static_image_mode=False, model_complexity=1)
    for _ in sys.stdin:
        num_found = 0
        for index, frame in enumerate(frames):
            if index == LEAD_IN:
                start = time.process_time()
            num_found += pose.process(frame).pose_landmarks is not None
        milliseconds = 1e3 * (time.process_time() - start) / (len(frames) - LEAD_IN)
        answer_json(stream, [milliseconds, num_found, decode_ms])


class MediaPipe(MediaPipeProcess):
    """MediaPipe in its own process; see `serve`."""

    def __init__(self, python: Path, video: Path, num_frames: int) -> None:
        super().__init__(python, __file__, video, num_frames)
        self.num_found, self.decode_ms = 0, 0.0

    def round_ms(self) -> float:
        """Processor milliseconds a frame of one round."""
        self.send(b"\n")
        milliseconds, self.num_found, self.decode_ms = self.read_json()
        return float(milliseconds)


def posecli_sides(
    video: Path, config: str, frames: list[Any], folder: Path
) -> tuple[dict[str, Callable[[], float]], dict[str, Any]]:
    """The pose stage and the whole of posecli with one config, as functions that give milliseconds; and facts about them."""
    import torch

    from posecli.benchmark.clock import Clock
    from posecli.benchmark.rehearsal import Rehearsal
    from posecli.benchmark.subject import Subject
    from posecli.benchmark.whole_run import time_annotate
    from posecli.people.detector import create_detector

    subject = Subject.prepare(config=config, weights=None, device="cpu", folder=folder)
    rehearsal = Rehearsal.run(frames, create_detector("embedded"), subject.estimator)
    chunks = [chunk for chunk in rehearsal.chunks if chunk.tracked]
    clock = Clock("cpu", torch.device("cpu"))

    def pose_ms() -> float:
        start = clock.now_s()
        for chunk in chunks:
            subject.estimator.estimate_windows([chunk.images], chunk.boxes[:1])
        return 1e3 * (clock.now_s() - start) / (len(chunks) * subject.estimator.config.num_frames)

    def whole_ms() -> float:
        run = time_annotate(video, rehearsal, subject, clock, stages_ms=1.0, repeats=1, folder=folder)
        return run.ms_per_frame

    facts = {
        "random_weights": subject.has_random_weights,
        "persons_per_frame": rehearsal.num_person_frames / len(frames),
        "made_up_person": rehearsal.has_made_up_person,
    }
    return {f"{config}, pose stage": pose_ms, f"{config}, whole": whole_ms}, facts


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All rounds; one JSON object."""
    import torch

    from posecli.benchmark.clip import read_frames
    from posecli.benchmark.comparison import compare
    from posecli.benchmark.machine import load_average
    from posecli.pipeline.allocator import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()  # as `posecli annotate` does
    frames = read_frames(arguments.video, arguments.frames)
    facts, load_before = {}, load_average()
    with (
        tempfile.TemporaryDirectory() as folder,
        MediaPipe(arguments.python, arguments.video, len(frames)) as mediapipe,
    ):
        sides: dict[str, Callable[[], float]] = {MEDIAPIPE: mediapipe.round_ms}
        for config in arguments.config:
            own, facts[config] = posecli_sides(arguments.video, config, frames, Path(folder))
            sides |= own
        comparison = compare(sides, rounds=arguments.rounds)
    ratios = {
        side: {
            "min": comparison.ratio(side, MEDIAPIPE),
            "median": comparison.median_ratio(side, MEDIAPIPE),
            "goal": GOALS.get(side.removesuffix(", pose stage")),
        }
        for side in sides
        if side != MEDIAPIPE
    }
    return {
        "video": arguments.video.name,
        "frames": len(frames),
        "load_average": [load_before, load_average()],
        "times": comparison.to_json(),
        "ratios_to_mediapipe": ratios,
        "mediapipe_frames_with_person": mediapipe.num_found,
        "mediapipe_decode_ms": mediapipe.decode_ms,
        "configs": facts,
    }


def show(result: dict[str, Any]) -> None:
    """A line a side."""
    write = sys.stdout.write
    write(f"{result['video']}, {result['frames']} frames; processor time of one core; load {result['load_average']}\n")
    write(f"MediaPipe found a person in {result['mediapipe_frames_with_person']} frames\n")
    for side, times in result["times"].items():
        ratio = result["ratios_to_mediapipe"].get(side)
        line = f"{side:28s} {times['min_ms']:7.2f} ms least, {times['median_ms']:7.2f} median"
        if ratio is not None:
            line += f"   {ratio['min']:5.2f} times MediaPipe (median of rounds {ratio['median']:.2f})"
            line += "" if ratio["goal"] is None else f"   goal {ratio['goal']}: {verdict(ratio)}"
        write(line + "\n")
    for config, facts in result["configs"].items():
        kind = "random" if facts["random_weights"] else "trained"
        write(f"{config}: {kind} weights, {facts['persons_per_frame']:.2f} people in a frame\n")


def verdict(ratio: dict[str, Any]) -> str:
    """Whether the goal is met by the least times."""
    return "pass" if ratio["min"] <= ratio["goal"] else "FAIL"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the environment with mediapipe")
    parser.add_argument("--config", nargs="+", default=["glsmamba-s"])
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, and the other process inherits it
    result = measure(arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        show(result)
    judged = [ratio for ratio in result["ratios_to_mediapipe"].values() if ratio["goal"] is not None]
    return 0 if all(verdict(ratio) == "pass" for ratio in judged) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(main())
