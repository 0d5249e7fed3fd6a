"""glsmamba-b in clip mode, a person-frame, against ViTPose-B, a frame: what does looking at five frames together cost?

    python tests/benchmarks/bench_vitpose.py [--device cuda] [--batch 1] [--precision float32] [--rounds 5] [--json]

Random weights on both sides, crops of 256x192 already cut. ViTPose-B is `VitPoseForPoseEstimation` of transformers where that is
installed; otherwise our own ViTPose encoder (patch embedding, twelve layers, two deconvolutions) with the final 1x1 convolution: the
same layers. glsmamba-b holds that encoder too, so on top of it come tokens, blocks and head. ViTPose takes all frames of the windows
as one batch. On a CPU one thread and processor time; on a GPU elapsed time after synchronising. With --precision bfloat16 both sides
run under autocast. Exit code 1 where, on a GPU, a person-frame costs more than 1.3 frames of ViTPose-B.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from posecli.benchmark.clock import Clock
from posecli.benchmark.comparison import compare
from posecli.benchmark.machine import Machine, load_average
from posecli.encoder import place
from posecli.pipeline.allocator import keep_freed_memory
from posecli.pose.config import ViTPoseConfig, get_pose_config
from posecli.pose.network import PoseNetwork
from posecli.pose.vitpose import ViTPoseEncoder

GOAL = 1.3
NUM_KEYPOINTS = 17
OURS, THEIRS, ENCODER = "glsmamba-b", "ViTPose-B", "glsmamba-b, of which the encoder"


class OwnViTPose(nn.Module):
    """ViTPose-B out of our parts: crops (N, 3, H, W) -> heatmaps (N, 17, H/4, W/4)."""

    def __init__(self, crop_hw: tuple[int, int]) -> None:
        super().__init__()
        config = ViTPoseConfig()
        self.encoder = ViTPoseEncoder(config, crop_hw)
        self.final = nn.Conv2d(config.out_channels, NUM_KEYPOINTS, 1)

    def forward(self, crops: Tensor) -> Tensor:
        heatmaps: Tensor = self.final(self.encoder(crops))
        return heatmaps


def vitpose(crop_hw: tuple[int, int]) -> tuple[nn.Module, Callable[[Any], Tensor], str]:
    """A ViTPose-B with random weights, how to get heatmaps out of its answer, and where it comes from."""
    if importlib.util.find_spec("transformers") is None:
        return OwnViTPose(crop_hw), lambda answer: answer, "our own layers (transformers is not installed)"
    import transformers

    backbone = transformers.VitPoseBackboneConfig(
        image_size=list(crop_hw), hidden_size=768, num_hidden_layers=12, num_attention_heads=12, out_indices=[12]
    )
    config = transformers.VitPoseConfig(backbone_config=backbone, num_labels=NUM_KEYPOINTS, use_simple_decoder=False)
    module = transformers.VitPoseForPoseEstimation(config)
    return module, lambda answer: answer.heatmaps, f"transformers {transformers.__version__}"


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One JSON object."""
    torch.set_num_threads(1)
    keep_freed_memory()
    device = torch.device(arguments.device)
    clock = Clock.fitting(device, 1)
    torch.manual_seed(0)
    config = get_pose_config(OURS)
    ours = PoseNetwork(config).eval().requires_grad_(False)
    theirs, heatmaps_of, origin = vitpose(config.crop_hw)
    theirs.eval().requires_grad_(False)
    place(ours, device)
    place(theirs, device)
    windows = torch.randn(arguments.batch, config.num_frames, 3, *config.crop_hw, device=device)
    crops = windows.flatten(0, 1).contiguous(memory_format=torch.channels_last)

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        def run() -> float:
            is_half = arguments.precision == "bfloat16"
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=is_half):
                start = clock.now_s()
                for _ in range(arguments.repeats):
                    work()
                return 1e3 * (clock.now_s() - start) / (arguments.repeats * len(crops))

        return run

    with torch.inference_mode():
        assert heatmaps_of(theirs(crops)).shape == (len(crops), NUM_KEYPOINTS, *config.grid_hw)
    sides = {
        THEIRS: timed(lambda: theirs(crops)),
        OURS: timed(lambda: ours(windows)),
        ENCODER: timed(lambda: ours.encoder(crops)),
    }
    before = load_average()
    comparison = compare(sides, rounds=arguments.rounds)
    machine = Machine.look(device)
    return {
        "device": machine.gpu or machine.cpu,
        "precision": arguments.precision,
        "windows": arguments.batch,
        "vitpose": origin,
        "clock": clock.kind,
        "load_average": [before, load_average()],
        "times": comparison.to_json(),
        "ratio": comparison.ratio(OURS, THEIRS),
        "median_ratio": comparison.median_ratio(OURS, THEIRS),
        "goal": GOAL,
    }


def main() -> int:
    """Print both sides and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="windows at once")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=1, help="passes a round; take more on a GPU")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = measure(arguments)
    is_met = result["ratio"] <= GOAL
    if arguments.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        load = result["load_average"]
        sys.stdout.write(
            f"{result['device']}, {result['precision']}, windows at once: {result['windows']}; {result['clock']} time, "
            f"load average {load[0]} to {load[1]}; ViTPose-B: {result['vitpose']}\n"
        )
        for side, times in result["times"].items():
            sys.stdout.write(f"{side:34s} {times['min_ms']:9.3f} ms a frame least, {times['median_ms']:9.3f} median\n")
        verdict = "pass" if is_met else "FAIL"
        judged = f"{verdict}" if arguments.device != "cpu" else "for a GPU; not judged here"
        sys.stdout.write(
            f"ratio {result['ratio']:.2f} (median of rounds {result['median_ratio']:.2f}), goal {GOAL}: {judged}\n"
        )
    return 0 if is_met or arguments.device == "cpu" else 1


if __name__ == "__main__":
    sys.exit(main())
