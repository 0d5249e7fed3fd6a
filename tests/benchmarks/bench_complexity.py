"""Parameters and multiply-adds of every pose config, beside the paper's figures.

Run: python tests/benchmarks/bench_complexity.py [CONFIG ...]
"""

from __future__ import annotations

import argparse
import sys

import torch

from posecli.pose.complexity import measure_complexity
from posecli.pose.config import POSE_CONFIGS, get_pose_config
from posecli.pose.network import PoseNetwork

PAPER = {"glsmamba-b": "paper: 9.8 M trainable, 138.9 G"}


def main() -> None:
    """Print one line a config."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="*", default=list(POSE_CONFIGS))
    torch.set_num_threads(1)
    for name in parser.parse_args().configs:
        network = PoseNetwork(get_pose_config(name)).eval()
        cost = measure_complexity(network)
        sys.stdout.write(
            f"{name:12s} parameters {cost.num_parameters / 1e6:7.2f} M  trainable {cost.num_trainable / 1e6:6.2f} M"
            f" (standard layers {cost.num_visible / 1e6:6.2f} M)  multiply-adds a window {cost.multiply_adds / 1e9:7.2f} G"
            f" (layers {cost.layers / 1e9:7.2f} G, scans and the like {cost.hidden / 1e9:6.2f} G;"
            f" encoder {cost.by_part['encoder'] / 1e9:7.2f} G)  {PAPER.get(name, '')}\n"
        )


if __name__ == "__main__":
    main()
