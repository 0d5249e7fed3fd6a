"""What 16-bit matrix products would bring on this CPU, and what they would cost: the reason why posecli computes in 32 bits there.

    python tests/benchmarks/bench_bfloat16.py LABELS.json IMAGES_DIR [--crops 60] [--config glsmamba-s]

The whole network under torch's autocast, and its feed-forward layers alone, against 32 bits: processor time of a person-frame on one
thread (in turns, the least), and how far keypoints move, px of the crop. Only where the processor has 16-bit products (AVX512-BF16 or
AMX) can anything be gained.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from posecli.encoder import CompactEncoder, normalise_images, place
from posecli.evaluation.pictures import read_picture
from posecli.formats.ground_truth import read_ground_truth
from posecli.pipeline.allocator import keep_freed_memory
from posecli.pose import blocks
from posecli.pose.checkpoint import load_network
from posecli.pose.crops import cut_window, window_transform
from posecli.pose.heatmaps import decode
from posecli.pose.network import PoseNetwork


def read_windows(labels: Path, images_dir: Path, network: PoseNetwork, count: int) -> list[Tensor]:
    """(1, T, 3, H, W) of labelled people, evenly from the whole file; each picture stands in all frames."""
    truth = read_ground_truth(labels)
    by_id = {image.image_id: image for image in truth.images}
    rows = np.flatnonzero(truth.has_keypoints)
    windows = []
    for row in rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]:
        transform = window_transform(truth.boxes[row][None], network.config.crop_hw)
        crop = cut_window([read_picture(images_dir, by_id[int(truth.image_ids[row])])], transform)
        images = torch.from_numpy(crop).permute(0, 3, 1, 2).expand(network.config.num_frames, -1, -1, -1)
        windows.append(normalise_images(images)[None])
    return windows


def half_feed_forward(layer: blocks.FeedForward, x: Tensor) -> Tensor:
    """`FeedForward.forward` with its products in 16 bits."""
    first, last = layer.first, layer.last
    hidden = functional.linear(x.bfloat16(), first.weight.bfloat16(), first.bias.bfloat16())
    return functional.linear(functional.gelu(hidden), last.weight.bfloat16(), last.bias.bfloat16()).float()


def main() -> None:
    """Print one line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("images_dir", type=Path)
    parser.add_argument("--crops", type=int, default=60)
    parser.add_argument("--config", default="glsmamba-s")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    network, _ = load_network(arguments.config)
    place(network, torch.device("cpu"))
    windows = read_windows(arguments.labels, arguments.images_dir, network, arguments.crops)

    def half_network(window: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            heatmaps: Tensor = network(window)
        return heatmaps

    def half_layers(window: Tensor) -> Tensor:
        with mock.patch.object(blocks.FeedForward, "forward", half_feed_forward):
            heatmaps: Tensor = network(window)
        return heatmaps

    variants: dict[str, Callable[[Tensor], Tensor]] = {
        "32 bits": network,
        "feed-forward in 16 bits": half_layers,
        "whole network in 16 bits": half_network,
    }
    least = dict.fromkeys(variants, float("inf"))
    points: dict[str, list[np.ndarray]] = {name: [] for name in variants}
    with torch.inference_mode():
        for window in [windows[0], *windows]:  # the first one twice, to warm up
            for name, work in variants.items():
                start = time.thread_time()
                heatmaps = work(window)
                least[name] = min(least[name], time.thread_time() - start)
                points[name].append(decode(heatmaps.float().flatten(0, 1))[0] * CompactEncoder.stride)
    base = np.stack(points["32 bits"])
    for name in variants:
        moved = np.linalg.norm(np.stack(points[name]) - base, axis=-1)
        sys.stdout.write(
            f"{name:26s} {1e3 * least[name] / network.config.num_frames:6.2f} ms a person-frame"
            f"   keypoints move by {np.median(moved):.3f} px in the median, {np.percentile(moved, 99):.3f} at the 99th percentile\n"
        )


if __name__ == "__main__":
    main()
