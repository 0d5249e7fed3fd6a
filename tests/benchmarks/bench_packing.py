"""What packing convolutions for the size of the picture brings: the encoder of `glsmamba-s` and PersonNet, laid out three ways.

    python tests/benchmarks/bench_packing.py

In turns. ``not packed``: torch lays the weights out at every call. ``size unknown``: packed once, for no size in particular,
as posecli did at first. ``packed``: as it does now. Processor time of one thread, the least of the rounds, ms a picture.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from posecli.encoder import place
from posecli.packed import PackedConv, pack_convolutions
from posecli.people.embedded import build_personnet
from posecli.pose.checkpoint import load_network
from posecli.weights import load_weights


class _SizeUnknown(PackedConv):
    """Packed without a word about the picture."""

    def _weight(self, x: Tensor) -> Tensor:
        if (0, 0) not in self._weights:
            self._weights[0, 0] = torch.ops.mkldnn._reorder_convolution_weight(self._raw_weight, *self._geometry)
        return self._weights[0, 0]


def _forget_size(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if type(module) is PackedConv:
            module.__class__ = _SizeUnknown
    return network


def _subjects() -> dict[str, tuple[nn.Module, Tensor]]:
    network, _ = load_network("glsmamba-s")
    detector = build_personnet(load_weights("personnet"))
    place(network, torch.device("cpu"))
    place(detector, torch.device("cpu"))
    window = torch.randn(5, 3, *network.config.crop_hw).contiguous(memory_format=torch.channels_last)
    return {
        "encoder of glsmamba-s, a window of five": (network.encoder, window),
        "the same, a still": (network.encoder, window[:1].contiguous(memory_format=torch.channels_last)),
        "PersonNet, 512 x 288": (detector, torch.randint(0, 256, (1, 3, 288, 512), dtype=torch.uint8)),
    }


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    sys.stdout.write(f"torch {torch.__version__}, {capability}; ms a picture, one thread\n")
    for name, (network, images) in _subjects().items():
        ways = {
            "not packed": network,
            "size unknown": _forget_size(pack_convolutions(copy.deepcopy(network))),
            "packed": pack_convolutions(copy.deepcopy(network)),
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds + 1):
            for way, laid_out in ways.items():
                taken[way].append(_milliseconds(partial(laid_out, images)) / len(images))
        least = {way: min(values[1:]) for way, values in taken.items()}
        row = "  ".join(f"{way} {value:7.2f}" for way, value in least.items())
        sys.stdout.write(f"{name:42s}{row}\n")


if __name__ == "__main__":
    main()
