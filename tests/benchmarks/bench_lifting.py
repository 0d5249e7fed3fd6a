"""What lifting costs on a CPU: beside the 2D pose stage, beside attention, and with the length of a window.

    python tests/benchmarks/bench_lifting.py [--parts pose,attention,length] [--rounds 15] [--out results.json] [--profile]

One thread, processor time, everything measured in turns, the least of the rounds. Three parts:

pose       The network of the pose stage (windows of five frames, 1 to 4 people at once, all five estimated) against the lifter's (one
           window of 243 frames), per person and frame, without and with the average of the clip and its mirror image. Crops,
           decoding and tracking are left out of the pose stage, so the ratio is rather too high. Goal: below 5 % (without mirror).
attention  The lifter against attention over joints and frames in turns, of the same width: with as many parameters, and as deep as
           MixSTE (8 pairs, 8 heads). Goal: faster per frame than the first.
length     Milliseconds a frame in one window of 243 to 3,888 frames, of both. Goal: the longest within 1.25 of the shortest. Freed
           memory is kept here, all of it: by itself the C library gives blocks above 32 MB back each time, and from about 1,500
           frames on the kernel's zeroing of them anew takes as long as the network. (posecli's windows are of 243 frames.)

Weights are random but for the pose network's: they do not change the work. Exit code 1 where a goal is missed. --profile prints the
lifter's dearest operators besides.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecli.atomic import write_atomic
from posecli.benchmark.comparison import Comparison, compare
from posecli.benchmark.machine import load_average
from posecli.errors import ConfigError
from posecli.lifting.config import get_lift_config
from posecli.pipeline.allocator import keep_freed_memory
from posecli.pose.checkpoint import load_network
from posecli.skeletons import H36M17
from posecli.training.lifting.baselines import SpaceTimeAttention, build_lifter

NUM_FRAMES, NUM_JOINTS = 243, len(H36M17)
PERSONS = (1, 2, 3, 4)
LENGTHS = (243, 486, 972, 1944, 3888)
PARTS = ("pose", "attention", "length")
MAX_SHARE, MAX_GROWTH = 0.05, 1.25
LONG_ROUNDS = 3  # of the part "length", whose rounds take long
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
LIFTER, MIRRORED, ATTENTION, DEEP = "lifter", "lifter, mirrored too", "attention", "attention, 8 pairs, 8 heads"


def timed(work: Callable[[], object], frames: int) -> Callable[[], float]:
    """Does the work once and returns its processor time, ms a person-frame."""

    def run() -> float:
        start = time.process_time()
        work()
        return 1e3 * (time.process_time() - start) / frames

    return run


def ready(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def clip(network: nn.Module, frames: int = NUM_FRAMES, batch: int = 1) -> Tensor:
    """(B, F, J, C_in) noise."""
    config = getattr(network, "config", None)
    channels = 3 if config is None else config.in_channels
    return torch.randn(batch, frames, NUM_JOINTS, channels, generator=torch.Generator().manual_seed(0))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def against_pose(lifter: nn.Module, pose_weights: str, rounds: int) -> dict[str, Any]:
    """The part "pose"."""
    pose, loaded = load_network(pose_weights)
    frames, (height, width) = pose.config.num_frames, pose.config.crop_hw
    sides = {}
    for persons in PERSONS:
        images = torch.randn(persons, frames, 3, height, width, generator=torch.Generator().manual_seed(1))
        sides[f"pose, {persons}"] = timed(lambda images=images: pose(images), persons * frames)  # type: ignore[misc]
    inputs = clip(lifter)
    sides[LIFTER] = timed(lambda: lifter(inputs), NUM_FRAMES)
    sides[MIRRORED] = timed(lambda: (lifter(inputs) + lifter(-inputs)) / 2, NUM_FRAMES)
    comparison = compare(sides, rounds=rounds)
    # the pose stage at its cheapest: nobody can say it was made slow
    cheapest = min((f"pose, {persons}" for persons in PERSONS), key=comparison.min_ms)
    return {
        "pose": loaded.name,
        "window": [frames, 3, height, width],
        **summary(comparison),
        "share": {side: comparison.ratio(side, cheapest) for side in (LIFTER, MIRRORED)},
        "median_share": {side: comparison.median_ratio(side, cheapest) for side in (LIFTER, MIRRORED)},
        "is_met": comparison.ratio(LIFTER, cheapest) < MAX_SHARE,
    }


def against_attention(lifter: nn.Module, name: str, rounds: int) -> dict[str, Any]:
    """The part "attention"."""
    width = get_lift_config(name.partition(":")[0]).d_model
    rivals = {ATTENTION: build_lifter("attention"), DEEP: SpaceTimeAttention(depth=8, heads=8, hidden=2 * width)}
    for rival in rivals.values():
        if next(rival.parameters()).shape[-1] != width:
            raise ConfigError(f"{name} is {width} wide, the attention lifter is not", hint="compare posecli-lifter")
    networks = {LIFTER: lifter, **{side: ready(rival) for side, rival in rivals.items()}}
    sides = {
        side: timed(lambda network=network: network(clip(network)), NUM_FRAMES)  # type: ignore[misc]
        for side, network in networks.items()
    }
    comparison = compare(sides, rounds=rounds)
    return {
        "frames": NUM_FRAMES,
        "width": width,
        "parameters": {side: count(network) for side, network in networks.items()},
        **summary(comparison),
        "times_as_fast": {side: comparison.ratio(side, LIFTER) for side in rivals},
        "median_times_as_fast": {side: comparison.median_ratio(side, LIFTER) for side in rivals},
        "is_met": comparison.ratio(ATTENTION, LIFTER) > 1.0,
    }


def keep_all_freed_memory() -> None:
    """Tell glibc to map no block by itself, and to give nothing back; elsewhere nothing is done."""
    if sys.platform.startswith("linux") and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def by_length(lifter: nn.Module, lengths: Sequence[int], rounds: int) -> dict[str, Any]:
    """The part "length"."""
    keep_all_freed_memory()
    networks = {LIFTER: lifter, ATTENTION: ready(build_lifter("attention"))}
    sides = {}
    for frames in lengths:
        for side, network in networks.items():
            inputs = clip(network, frames)
            sides[f"{side}, {frames}"] = timed(lambda n=network, x=inputs: n(x), frames)  # type: ignore[misc]
    comparison = compare(sides, rounds=min(rounds, LONG_ROUNDS))
    rows = {side: [comparison.min_ms(f"{side}, {frames}") for frames in lengths] for side in networks}
    growth = {side: row[-1] / row[0] for side, row in rows.items()}
    return {
        "frames": list(lengths),
        "ms_a_frame": rows,
        "growth": growth,
        "slope": {side: slope(lengths, row) for side, row in rows.items()},
        "is_met": growth[LIFTER] < MAX_GROWTH,
    }


def slope(lengths: Sequence[int], ms_a_frame: Sequence[float]) -> float:
    """Exponent of the whole time over the length: 1 is linear."""
    points = [(math.log(f), math.log(f * ms)) for f, ms in zip(lengths, ms_a_frame, strict=True)]
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def summary(comparison: Comparison) -> dict[str, Any]:
    sides = comparison.rounds_ms
    return {
        "ms_a_frame": {side: comparison.min_ms(side) for side in sides},
        "median_ms_a_frame": {side: comparison.median_ms(side) for side in sides},
    }


def dearest(lifter: nn.Module, top: int = 5) -> list[dict[str, Any]]:
    """The operators that take longest, of one window."""
    from torch.profiler import ProfilerActivity, profile

    inputs = clip(lifter)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(5):
            lifter(inputs)
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    ordered = sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)
    return [{"operator": e.key, "calls": e.count // 5, "share": e.self_cpu_time_total / total} for e in ordered[:top]]


def show(result: dict[str, Any]) -> list[str]:
    """Lines for people."""
    lines: list[str] = []
    for part in (result.get("pose", {}), result.get("attention", {})):
        for side, ms in part.get("ms_a_frame", {}).items():
            lines.append(f"{side:30s} {ms:8.3f} ms a person-frame (median {part['median_ms_a_frame'][side]:.3f})")
    if pose := result.get("pose"):
        texts = [f"{side} {share:.2%}" for side, share in pose["share"].items()]
        lines.append(f"of the pose network's time: {', '.join(texts)}; goal below {MAX_SHARE:.0%}: {verdict(pose)}")
    if attention := result.get("attention"):
        texts = [
            f"{ratio:.2f} times as fast as {side} ({attention['parameters'][side] / 1e6:.3f} M)"
            for side, ratio in attention["times_as_fast"].items()
        ]
        own = attention["parameters"][LIFTER] / 1e6
        lines.append(f"lifter ({own:.3f} M): {', '.join(texts)}; goal above 1: {verdict(attention)}")
    if length := result.get("length"):
        lines.append(f"{'frames':30s} " + " ".join(f"{frames:8d}" for frames in length["frames"]))
        for side, row in length["ms_a_frame"].items():
            cells = " ".join(f"{ms:8.3f}" for ms in row)
            lines.append(f"{side + ', ms a frame':30s} {cells}   time ~ frames^{length['slope'][side]:.2f}")
        lines.append(f"goal: lifter's last below {MAX_GROWTH:.2f} of its first: {verdict(length)}")
    for row in result.get("dearest", []):
        lines.append(f"{row['operator']:30s} {row['share']:6.1%} in {row['calls']} calls")
    return [*lines, f"load average {result['load_average'][0]} before, {result['load_average'][1]} after"]


def verdict(part: dict[str, Any]) -> str:
    return "pass" if part["is_met"] else "FAIL"


def main() -> int:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="by default all: %(default)s")
    parser.add_argument("--lifter", default="posecli-lifter", help="a name of posecli.lifting.config")
    parser.add_argument("--pose", default="glsmamba-s", help="pose weights")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--lengths", type=lambda text: tuple(map(int, text.split(","))), default=LENGTHS)
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--profile", action="store_true", help="also print the lifter's dearest operators")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        raise ConfigError(f"unknown part {unknown[0]!r}", hint=f"one of {', '.join(PARTS)}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    lifter = ready(build_lifter(arguments.lifter))
    before = load_average()
    result: dict[str, Any] = {"lifter": arguments.lifter}
    with torch.inference_mode():
        if "pose" in parts:
            result["pose"] = against_pose(lifter, arguments.pose, arguments.rounds)
        if "attention" in parts:
            result["attention"] = against_attention(lifter, arguments.lifter, arguments.rounds)
        if "length" in parts:
            result["length"] = by_length(lifter, arguments.lengths, arguments.rounds)
        if arguments.profile:
            result["dearest"] = dearest(lifter)
    result["load_average"] = [before, load_average()]
    sys.stdout.write("\n".join(show(result)) + "\n")
    if arguments.out:
        write_atomic(arguments.out, json.dumps(result, indent=2).encode(), overwrite=True)
    return 0 if all(result[part]["is_met"] for part in parts) else 1


if __name__ == "__main__":
    sys.exit(main())
